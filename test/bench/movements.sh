# test/bench/movements.sh
# The movements' part of the run: three clusters, a, b and c. Movements between two of them by each
# protocol, a local transfer, and the rival by hand (movements.sql), with 16 callers who wait; movements between two
# while the third answers after a second; appends on accounts that are in movements; how long it takes until all is settled
# after the server of the coordinator was killed; and movements while row versions are kept from being removed. To be sourced by run.

measure_movements()
{
	start_stores
	measure_protocols
	measure_slow_server
	measure_appends_beside
	measure_recovery
	((held_back_seconds == 0)) || measure_movements_held_back
	check_totals
	stop_stores
}

at_store()
{
	PGPORT=${store_port[$1]} run_sql "${@:2}"
}

# b and c beside the cluster of the bench, which is a; each with a role for a's coordinator
start_stores()
{
	local store bin number=0
	bin=$("${PG_CONFIG:-pg_config}" --bindir)
	declare -gA store_port=([a]=$PGPORT [b]=$((PGPORT + 1)) [c]=$((PGPORT + 2)))
	move_accounts=$((accounts < 10000 ? accounts : 10000))
	configure_store "$scratch/data"
	as_server_user "$bin/pg_ctl" -D "$scratch/data" -l "$scratch/server.log" -w restart >/dev/null
	for store in b c; do
		as_server_user "$bin/initdb" -D "$scratch/$store" -U "$PGUSER" -A trust -E UTF8 --no-locale >/dev/null
		as_server_user cp "$scratch/data/postgresql.conf" "$scratch/$store"
		printf 'port = %s\n' "${store_port[$store]}" | as_server_user tee -a "$scratch/$store/postgresql.conf" >/dev/null
		as_server_user "$bin/pg_ctl" -D "$scratch/$store" -l "$scratch/$store.log" -w start >/dev/null ||
			{ cat "$scratch/$store.log" >&2; fail "the cluster of $store does not start"; }
		PGPORT=${store_port[$store]} PGDATABASE=postgres run_sql -c 'CREATE DATABASE bench'
	done
	for store in a b c; do
		at_store "$store" -v accounts="$move_accounts" -v prefix="$store" -f "$bench/movements.sql" >/dev/null
	done
	for store in b c; do
		at_store "$store" -c 'CREATE ROLE of_a LOGIN' -c "SELECT pointstore.grant_access('of_a', 'participant')" >/dev/null
		at_store a -c "CREATE SERVER $store FOREIGN DATA WRAPPER pointstore OPTIONS (host '$scratch', port '${store_port[$store]}', dbname 'bench')" \
			-c "CREATE USER MAPPING FOR CURRENT_USER SERVER $store OPTIONS (user 'of_a')"
	done
	connection="host=$scratch port=${store_port[b]} dbname=bench user=$PGUSER"
}

configure_store()
{
	printf '%s\n' 'max_prepared_transactions = 200' "pointstore.databases = 'bench'" 'pointstore.reconcile_interval = 0' |
		as_server_user tee -a "$1/postgresql.conf" >/dev/null
}

stop_stores()
{
	local store
	for store in b c; do
		as_server_user "$("${PG_CONFIG:-pg_config}" --bindir)/pg_ctl" -D "$scratch/$store" -m immediate stop >/dev/null 2>&1 || true
	done
}

# run_moves SCRIPT CLIENTS OPTION...: as pgbench_run, with text variables; connecting is not counted twice
run_moves()
{
	local script=$1 clients=$2
	shift 2
	pgbench_run "$script" "$clients" "$move_accounts" '' -l --log-prefix="$scratch/latency" -D connection="$connection" "$@"
}

# moving PROTOCOL SERVER: variables of move.sql
moving()
{
	echo "-D protocol=$1 -D to_server=$2"
}

measure_protocols()
{
	local workload='movements, 16 callers' round contender script options tps median p99
	progress "$workload"
	for ((round = 1; round <= rounds; round++)); do
		for contender in $(in_turn "$round" transfer tcc saga 2pc by_hand); do
			options=
			case $contender in
				transfer) script=move_here ;;
				by_hand) script=move_by_hand ;;
				*) script=move options=$(moving "$contender" b) ;;
			esac
			run_sql -c CHECKPOINT
			at_store b -c CHECKPOINT
			read -r _ tps median _ p99 < <(run_moves "$script" 16 -T "$seconds" $options)
			record "$workload" "$contender" tps "$round" "$tps"
			record "$workload" "$contender" 'ms, median' "$round" "$median"
			record "$workload" "$contender" 'ms, 99 %' "$round" "$p99"
		done
	done
}

# 16 callers to b; beside them 4 to c, whose answers take a second
measure_slow_server()
{
	local workload='movements to b, c answers after 1 s' round contender tps slow
	progress "$workload"
	at_store c -c "CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN NULL; END'" \
		-c 'CREATE TRIGGER slow AFTER INSERT OR UPDATE ON pointstore.participant_step FOR EACH STATEMENT EXECUTE FUNCTION public.slow()'
	for ((round = 1; round <= rounds; round++)); do
		for contender in $(in_turn "$round" undisturbed disturbed); do
			slow=
			if [[ $contender == disturbed ]]; then
				pgbench -n -M prepared -c 4 -j 1 -T $((seconds + 2)) -D accounts="$move_accounts" $(moving tcc c) -f "$bench/move.sql" >"$scratch/slow.log" 2>&1 &
				slow=$!
				sleep 1
			fi
			read -r _ tps _ < <(run_moves move 16 -T "$seconds" $(moving tcc b))
			record "$workload" "$contender" tps "$round" "$tps"
			[[ -z $slow ]] || wait "$slow" || { cat "$scratch/slow.log" >&2; fail "$workload: those who wait for c have failed"; }
		done
	done
	await_settled
	at_store c -c 'DROP TRIGGER slow ON pointstore.participant_step'
}

# appends at b, by 4 callers, on 100 accounts to which 200 movements a second go, and on 100 others
measure_appends_beside()
{
	local round contender protocol tps mover workload
	for protocol in tcc 2pc; do
		workload="appends beside 200 movements/s, $protocol"
		progress "$workload"
		for ((round = 1; round <= rounds; round++)); do
			for contender in $(in_turn "$round" other_accounts same_accounts); do
				sed "s/^.set payee.*/\\\\set payee $([[ $contender == same_accounts ]] && echo 'random(1, 100)' || echo "random(101, 200)")/" "$bench/move.sql" >"$scratch/movers.sql"
				pgbench -n -M prepared -c 16 -j 1 -R 200 -T $((seconds + 2)) -D accounts="$move_accounts" $(moving "$protocol" b) -f "$scratch/movers.sql" >"$scratch/movers.log" 2>&1 &
				mover=$!
				sleep 1
				read -r _ tps _ < <(PGPORT=${store_port[b]} pgbench_run append_there 4 100 '' -T "$seconds")
				record "$workload" "$contender" tps "$round" "$tps"
				wait "$mover" || { cat "$scratch/movers.log" >&2; fail "$workload: those who move have failed"; }
			done
		done
	done
}

# until no movement is unfinished
await_settled()
{
	local i
	for ((i = 0; i < 6000; i++)); do
		[[ $(run_sql -c 'SELECT count(*) FROM pointstore.movement WHERE finished_at IS NULL') != 0 ]] || return 0
		sleep 0.02
	done
	fail 'there are movements that do not end'
}

# under the load of 16 callers the coordinator's server is killed: seconds from when it lets in until all is settled
measure_recovery()
{
	local workload='recovery, 16 callers' round bin load back left
	bin=$("${PG_CONFIG:-pg_config}" --bindir)
	progress "$workload"
	for ((round = 1; round <= rounds; round++)); do
		pgbench -n -M prepared -c 16 -j 2 -T 60 -D accounts="$move_accounts" $(moving tcc b) -f "$bench/move.sql" >/dev/null 2>&1 &
		load=$!
		sleep "$seconds"
		as_server_user kill -9 "$(head -n 1 "$scratch/data/postmaster.pid")"
		wait "$load" || true
		await_death
		as_server_user "$bin/pg_ctl" -D "$scratch/data" -l "$scratch/server.log" -w start >/dev/null || fail 'a does not come back'
		back=$(date +%s.%N)
		left=$(run_sql -c 'SELECT count(*) FROM pointstore.movement WHERE finished_at IS NULL')
		await_settled
		record "$workload" move s "$round" "$(date +%s.%N) - $back"
		record "$workload" move 'unfinished at the start' "$round" "$left"
	done
}

# until the last process of the killed server is gone; its lock files name one that nobody may have waited for yet
await_death()
{
	local i process
	for ((i = 0; i < 300; i++)); do
		for process in /proc/[0-9]*; do
			[[ $(readlink "$process/cwd" 2>/dev/null || true) != "$scratch/data" ]] || { sleep 0.1; continue 2; }
		done
		break
	done
	rm -f "$scratch/data/postmaster.pid" "$scratch/.s.PGSQL.$PGPORT.lock"
}

# movements by 16 callers while a session that does nothing keeps old row versions: in the first tenth of the time, and in the last
measure_movements_held_back()
{
	local workload="movements, row versions kept $held_back_seconds s" idle start tenth=$((held_back_seconds > 10 ? held_back_seconds / 10 : 1))
	progress "$workload"
	exec {idle}> >(PGAPPNAME=idle run_sql >/dev/null)
	echo 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1;' >&"$idle"
	await_session "application_name = 'idle' AND state = 'idle in transaction' AND backend_xmin IS NOT NULL"
	start=$(run_sql -c 'SELECT clock_timestamp()')
	run_moves move 16 -T "$held_back_seconds" $(moving tcc b) >/dev/null
	echo 'COMMIT;' >&"$idle"
	exec {idle}>&-
	await_settled
	run_sql -c "INSERT INTO bench.result (workload, contender, unit, round, value)
		SELECT '$workload', p.part, 'movements/s', 1, v.n / $tenth.0
		  FROM (SELECT min(finished_at) AS first, max(finished_at) AS last FROM pointstore.movement WHERE started_at >= '$start') run,
		       LATERAL (VALUES ('beginning', run.first), ('end', run.last - interval '$tenth s')) p(part, begins),
		       LATERAL (SELECT count(*) AS n FROM pointstore.movement WHERE finished_at >= p.begins AND finished_at < p.begins + interval '$tenth s') v"
}

# what there was is still there, and nothing is reserved
check_totals()
{
	local store total=0 by_hand=0 sum
	await_settled
	for store in a b c; do
		[[ $(at_store "$store" -c "SELECT count(*) FROM pointstore.participant_step WHERE status IN ('tried', 'done')") == 0 ]] || fail "$store: a movement that has ended has left something reserved"
		[[ $(at_store "$store" -c 'SELECT count(*) FROM pg_prepared_xacts') == 0 ]] || fail "$store: a prepared transaction is left"
		sum=$(at_store "$store" -c "SELECT sum(b.balance) - (SELECT coalesce(sum(amount), 0) FROM pointstore.event_store WHERE event_type IN ('PointAdjusted'))
			FROM pointstore.balance b WHERE aggregate_id LIKE '$store-%'")
		total=$((total + ${sum%.*}))
		by_hand=$((by_hand + $(at_store "$store" -c 'SELECT sum(balance) FROM rival.account')))
	done
	((total == 3 * 1000000 * move_accounts)) || fail "movements: $total in all, not $((3 * 1000000 * move_accounts))"
	((by_hand == 3 * 1000000 * move_accounts)) || fail "by hand: $by_hand in all, not $((3 * 1000000 * move_accounts))"
}
