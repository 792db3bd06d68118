# test/bench/feed.sh
# The feed part of the run: what the sequencer costs and what appends lose by it and by who follows
# (followers.sh), how long an event takes from its commit to who follows the feed, how fast the feed is
# read and worked off and read models are made of it (models.sql), what a snapshot saves, what an idle
# store costs, and how a group of members fares while old row versions stay (held_back.sh). Rivals:
# a queue table with a row for each event (SKIP LOCKED), a notification of each (listen.c), polling by id behind
# a transaction horizon, triggers. Fails when an event is not delivered just once, and
# when a read model is not what the events say. To be sourced by run.

measure_feed()
{
	# nothing else is to run beside
	run_sql -c 'ALTER SYSTEM SET pointstore.reconcile_interval = 0' -c 'ALTER SYSTEM SET pointstore.full_reconcile_interval = 0' >/dev/null
	run_sql -f "$bench/feed.sql" -f "$bench/models.sql" -f "$bench/held_back.sql" >/dev/null
	compile_listener
	measure_sequencer 'sequencer, append_event, 8 clients' append_event 8
	measure_sequencer "sequencer, submit_event, ${client_numbers##* } clients" submit_event "${client_numbers##* }"
	measure_followers
	measure_delivery
	measure_catching_up
	measure_states
	measure_idle
	((held_back_seconds == 0)) || measure_held_back
}

# switch_sequencer on|off [PROJECTORS]: and waits until it is so.
switch_sequencer()
{
	run_sql -c "ALTER SYSTEM SET pointstore.databases = 'bench'" -c "ALTER SYSTEM SET pointstore.sequencer = $1" \
		-c "ALTER SYSTEM SET pointstore.projection_workers = ${2:-0}" -c 'SELECT pg_reload_conf()' >/dev/null
	until [[ $(run_sql -c 'SELECT pointstore.sequencer_alive()') == "$([[ $1 == on ]] && echo t || echo f)" ]]; do sleep 0.1; done
}

await_sequencer()
{
	until [[ $(run_sql -c 'SELECT pointstore.feed_head() >= (SELECT count(*) FROM pointstore.event_store)') == t ]]; do sleep 0.1; done
}

# microseconds that a process has run
cpu_of()
{
	awk '{ print int($1 / 1000) }' "/proc/$1/schedstat"
}

# measure_sequencer WORKLOAD CONTENDER CLIENTS: with a sequencer and without, in turn
measure_sequencer()
{
	local workload=$1 contender=$2 clients=$3 round how done tps pid cpu
	progress "$workload"
	for ((round = 1; round <= rounds; round++)); do
		for how in $(in_turn "$round" sequenced unsequenced); do
			switch_sequencer "$([[ $how == sequenced ]] && echo on || echo off)"
			if [[ $how == sequenced ]]; then
				await_sequencer
				pid=$(run_sql -c "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pointstore sequencer'")
				cpu=$(cpu_of "$pid")
			fi
			read -r done tps < <(pgbench_run "$contender" "$clients" "$accounts" '' -T "$seconds")
			record "$workload" "$how" tps "$round" "$tps"
			[[ $how == unsequenced ]] && continue
			await_sequencer
			run_sql -c "INSERT INTO bench.result (workload, contender, unit, round, value)
				VALUES ('$workload', 'sequencer', 'us CPU/event', $round, ($(cpu_of "$pid") - $cpu)::float8 / $done)"
		done
	done
	switch_sequencer on
	await_sequencer
}

# 1,000 events a second, and one who follows them
measure_delivery()
{
	local round how
	progress 'delivery'
	for ((round = 1; round <= rounds; round++)); do
		for how in $(in_turn "$round" claim wait_for_feed poll_by_xmin queue notify); do
			start_follower "$how" $((seconds + 1))
			pgbench_run append_event 4 "$accounts" '' -T "$seconds" -R 1000 >/dev/null
			end_follower "$how"
			check_follower "$how"
			run_sql -c "INSERT INTO bench.result (workload, contender, unit, round, value)
				SELECT 'delivery, 1,000 events/s', '$how', unit, $round, value
				  FROM (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) AS median, percentile_cont(0.99) WITHIN GROUP (ORDER BY ms) AS p99 FROM bench.delivered) d,
				       LATERAL (VALUES ('ms, median', median), ('ms, 99 %', p99)) v(unit, value)"
		done
	done
	run_sql -c "SELECT bench.start_following('nobody')" -c VACUUM >/dev/null
}

# What is there is sequenced, read and worked off from the beginning; by the projection all of it.
measure_catching_up()
{
	local round how found head
	progress 'catching up'
	head=$(run_sql -c 'SELECT pointstore.feed_head()')
	((head >= catch_up_events)) || fail "feed: there are $head events to catch up with, not $catch_up_events"
	for ((round = 1; round <= rounds; round++)); do
		for how in $(in_turn "$round" read_feed read_feed_1000 claim claim_16_slots queue projection); do
			found=$(run_sql -c "SELECT bench.prepare_$how()" -c '\timing on' -c "CALL bench.work_off_$how($catch_up_events)" | awk '/^Time:/ { ms += $2 } END { print ms }')
			run_sql -c "INSERT INTO bench.result (workload, contender, unit, round, value)
				VALUES ('catching up', '$how', 'events/s', $round, $([[ $how == projection ]] && echo "$head" || echo "$catch_up_events") / $found * 1000)"
		done
		check_projection
	done
	found=$(run_sql -c 'SELECT count(*) FROM pointstore.event_store e WHERE pointstore.position_of(e.id) IS NULL')
	[[ $found == 0 ]] || fail "feed: $found events have no position"
	run_sql -c "SET ROLE bench_modeller" -c "SELECT pointstore.drop_projection('by_day')" >/dev/null
}

# The state of an account of 10,000 events: replayed, and from a snapshot that lies 50 events back, and 99.
measure_states()
{
	local round how
	progress 'states'
	for ((round = 1; round <= rounds; round++)); do
		for how in $(in_turn "$round" replayed snapshot snapshot_99); do
			case $how in
				replayed) record_state "$how" "$round" replayed 10000 10 ;;
				snapshot) record_state "$how" "$round" snapshots 10000 200 ;;
				snapshot_99) record_state "$how" "$round" snapshots 9949 200 ;;
			esac
		done
	done
}

# record_state CONTENDER ROUND ACCOUNT VERSION CALLS
record_state()
{
	record 'aggregate_state, 10,000 events, snapshots every 100' "$1" 'ms, median' "$2" "(SELECT bench.state_ms('$3', $4, $5))"
}

# What the processes that serve an idle store do: how often each wakes up, and how long it runs.
measure_idle()
{
	local round name pid cpu
	progress 'idle'
	switch_sequencer on
	await_sequencer
	for ((round = 1; round <= rounds; round++)); do
		declare -A woken=() ran=()
		sleep 2
		while read -r pid name; do
			woken[$name]=$(switches_of "$pid")
			ran[$name]=$(cpu_of "$pid")
		done < <(idle_processes)
		cpu=$(server_cpu)
		sleep "$idle_seconds"
		record idle 'all processes' 'us CPU/s' "$round" "($(server_cpu) - $cpu) * 1000000.0 / $idle_seconds"
		while read -r pid name; do
			run_sql -c "INSERT INTO bench.result (workload, contender, unit, round, value) VALUES
				('idle', '$name', 'wake-ups/s', $round, ($(switches_of "$pid") - ${woken[$name]}) / $idle_seconds.0),
				('idle', '$name', 'us CPU/s', $round, ($(cpu_of "$pid") - ${ran[$name]}) / $idle_seconds.0)"
		done < <(idle_processes)
	done
}

idle_processes()
{
	run_sql -F ' ' -c "SELECT pid, split_part(backend_type, ' ', 2) FROM pg_stat_activity WHERE backend_type IN ('pointstore launcher', 'pointstore sequencer')"
}

switches_of()
{
	awk '/^voluntary_ctxt_switches/ { print $2 }' "/proc/$1/status"
}
