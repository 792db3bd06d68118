# test/bench/callers.sh
# The callers' part of the run: appends on a kind with ten transitions against one with none, appends
# that check a lease against appends that check none, acquiring and releasing a lease against two
# appends, 64 callers who wait for one lease (wait_for_lease, and beside it an advisory lock, which keeps
# nothing), and 64 clients who count likes: by submit_event, by append_event, by UPDATE … SET v = v + 1
# and, where redis-server is installed, by INCR with a flush of each (appendfsync always) to the same
# disk. To be sourced by run.

# what is measured on: accounts of the kinds, and one for each of 8 clients whose lease is held for a day
prepare_callers()
{
	[[ -z $(run_sql -c "SELECT to_regclass('bench.counter')") ]] || return 0
	run_sql -v accounts="$((accounts < 10000 ? accounts : 10000))" -f "$bench/callers.sql" >/dev/null
	local i
	tokens=()
	for i in {0..7}; do
		tokens+=(-D "token_$i=$(run_sql -c "SELECT token FROM pointstore.acquire_lease('account:leased-$i', 'bench', '1 day')")")
	done
}

measure_callers()
{
	prepare_callers
	measure_connecting
	compare_callers 'ten transitions, 8 clients' 8 append_plain append_ten
	compare_callers 'a lease checked, 8 clients' 8 append_own append_leased
	compare_callers 'acquire and release, 8 clients' 8 two_appends acquire_release
	compare_callers '64 callers, one lease' 64 wait_for_lease advisory_lock
	measure_likes
	check_callers
}

# the seconds, more rather than less, in which 64 clients connect: pgbench counts them
measure_connecting()
{
	local start=$SECONDS
	echo 'SELECT;' >"$scratch/nothing.sql"
	pgbench -n -c 64 -j 2 -t 1 -f "$scratch/nothing.sql" >"$scratch/pgbench" 2>&1 || { cat "$scratch/pgbench" >&2; fail '64 clients cannot connect'; }
	connecting=$((2 * (SECONDS - start) + 1))
}

# compare_callers WORKLOAD CLIENTS CONTENDER...
compare_callers()
{
	local round
	progress "$1"
	for ((round = 1; round <= rounds; round++)); do
		compare_once "$1" "$2" "$round" "${@:3}"
	done
}

# compare_once WORKLOAD CLIENTS ROUND CONTENDER...
compare_once()
{
	local workload=$1 clients=$2 round=$3 contender cpu done tps median p95 p99 range protocol=prepared
	local length=$((clients > 8 ? seconds + connecting : seconds))
	# preparing for 64 that wait for each other takes longer than a short run
	[[ $workload != *'one lease' ]] || protocol=simple
	for contender in $(in_turn "$round" "${@:4}"); do
		range=$((accounts < 10000 ? accounts : 10000))
		# as many as there are leases: so both write about as many pages
		[[ $contender != two_appends ]] || range=800
		# each writes its pages as the first after a checkpoint
		run_sql -c CHECKPOINT
		cpu=$(server_cpu)
		# of 64 that wait for one lock the deadlock detector alone keeps the processors busy
		read -r done tps median p95 p99 < <(PGOPTIONS="$PGOPTIONS -c deadlock_timeout=1h" pgbench_run "$contender" "$clients" "$range" '' -T "$length" "${tokens[@]}" -l --log-prefix="$scratch/latency" -M "$protocol")
		record_cpu "$workload" "$contender" "$round" "$cpu" "$done"
		record "$workload" "$contender" tps "$round" "$tps"
		record "$workload" "$contender" 'ms, median' "$round" "$median"
		record "$workload" "$contender" 'ms, 99 %' "$round" "$p99"
		[[ $workload != *'one lease' ]] || record "$workload" "$contender" 'turns, most - fewest' "$round" "$(unevenness "$clients")"
		[[ $contender != like_* ]] || counted[$contender]=$((${counted[$contender]:-0} + done))
	done
}

# unevenness CLIENTS: of the run that was logged, how many times more the client had its turn that had it most often than the one that had it
# least; of callers who are served in order of arrival, and come again at once, one or two
unevenness()
{
	cat "$scratch"/latency.* | awk -v clients="$1" '{ n[$1]++ } END {
		least = most = n[0] + 0
		for (i = 1; i < clients; i++) { if (n[i] + 0 < least) least = n[i] + 0; if (n[i] > most) most = n[i] }
		print most - least }'
}

# Likes: all contenders in turn, Redis among them
measure_likes()
{
	local workload='likes, 64 clients' round
	progress "$workload"
	declare -gA counted=()
	start_redis || progress 'likes: there is no redis-server'
	for ((round = 1; round <= rounds; round++)); do
		compare_once "$workload" 64 "$round" like_submit like_append like_update
		[[ -z $redis ]] || measure_redis "$workload" "$round"
	done
	stop_redis
	counted_right like_submit "SELECT balance FROM pointstore.balance WHERE aggregate_id = 'likes-0'"
	counted_right like_append "SELECT balance FROM pointstore.balance WHERE aggregate_id = 'likes-one-by-one-0'"
	counted_right like_update 'SELECT v FROM bench.counter'
}

# counted_right CONTENDER QUERY: every like that was acknowledged is counted
counted_right()
{
	local found
	found=$(run_sql -c "$2")
	((found == counted[$1])) || fail "likes, $1: ${counted[$1]} acknowledged, $found counted"
}

redis=
start_redis()
{
	command -v redis-server >/dev/null && command -v redis-benchmark >/dev/null || return 1
	as_server_user mkdir "$scratch/redis"
	# the flush is what PostgreSQL's is
	as_server_user redis-server --port 0 --unixsocket "$scratch/redis/socket" --dir "$scratch/redis" --save '' --appendonly yes \
		--appendfsync "$([[ ${BENCH_FSYNC:-on} == on ]] && echo always || echo no)" --daemonize no >"$scratch/redis.log" 2>&1 &
	redis=$!
	until [[ $(as_server_user redis-cli -s "$scratch/redis/socket" PING 2>/dev/null) == PONG ]]; do
		kill -0 "$redis" 2>/dev/null || { cat "$scratch/redis.log" >&2; fail 'redis-server does not start'; }
		sleep 0.1
	done
}

# also when the run ends, by who did not start it
stop_redis()
{
	[[ -S ${scratch:-}/redis/socket ]] || return 0
	as_server_user redis-cli -s "$scratch/redis/socket" SHUTDOWN NOSAVE >/dev/null 2>&1 || true
	wait "$redis" 2>/dev/null || true
	redis=
}

# redis_run COUNT: increments a second, median and 99 % of the latencies in ms
redis_run()
{
	as_server_user redis-benchmark -s "$scratch/redis/socket" -c 64 -n "$1" --csv INCR likes 2>/dev/null |
		awk -F, 'NR == 2 { gsub("\"", ""); print $2, $5, $7 }'
}

# measure_redis WORKLOAD ROUND: a short run says how many increments make one of the length that the others have
measure_redis()
{
	local rate median p99 count
	as_server_user redis-cli -s "$scratch/redis/socket" SET likes 0 >/dev/null
	read -r rate median p99 < <(redis_run 5000)
	count=$(awk -v rate="$rate" -v seconds="$seconds" 'BEGIN { print int(rate * seconds) }')
	read -r rate median p99 < <(redis_run "$count")
	record "$1" redis tps "$2" "$rate"
	record "$1" redis 'ms, median' "$2" "$median"
	record "$1" redis 'ms, 99 %' "$2" "$p99"
	[[ $(as_server_user redis-cli -s "$scratch/redis/socket" GET likes) == $((5000 + count)) ]] || fail 'likes, redis: not what was counted'
}

# Every balance is what its events say, every state what the transitions make of their number
check_callers()
{
	local found
	found=$(run_sql -c "SELECT count(*) FROM pointstore.balance WHERE kind = 'ten' AND state IS DISTINCT FROM 's' || version % 10")
	[[ $found == 0 ]] || fail "ten transitions: $found states are not what the events make of them"
	check_balances callers
}

# Instructions of what the part compares
measure_caller_instructions()
{
	local workload='instructions, callers' contender
	for contender in append_plain append_ten append_own append_leased two_appends acquire_release; do
		# of the first two a few in a hundred count
		[[ $contender == append_plain || $contender == append_ten ]] && local calls=300 || local calls=100
		record_instructions "$workload" "$contender" "$1" "$contender" "${tokens[@]}"
	done
}
