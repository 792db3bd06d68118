# test/bench/feed.sh
# The feed part of the run: what the sequencer costs and what appends lose by it, how long an
# event takes from its commit to who follows the feed, and how fast the feed is read and worked
# off, against a queue table with a row for each event (SKIP LOCKED) and against polling by id behind a
# transaction horizon (feed.sql). Fails when an event is not delivered just once. To be sourced by run.

measure_feed()
{
	run_sql -f "$bench/feed.sql" >/dev/null
	measure_sequencer 'sequencer, append_event, 8 clients' append_event 8
	measure_sequencer 'sequencer, submit_event, 64 clients' submit_event 64
	measure_delivery
	measure_catching_up
}

# switch_sequencer on|off: and waits until it is so.
switch_sequencer()
{
	run_sql -c "ALTER SYSTEM SET pointstore.databases = 'bench'" -c "ALTER SYSTEM SET pointstore.sequencer = $1" -c 'SELECT pg_reload_conf()' >/dev/null
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
	local round how found=0
	progress 'delivery'
	for ((round = 1; round <= rounds; round++)); do
		for how in $(in_turn "$round" claim wait_for_feed poll_by_xmin); do
			run_sql -c 'TRUNCATE bench.delivered' -c "SELECT bench.start_following('$how')" >/dev/null
			run_sql -c "CALL bench.follow_by_$how($((seconds + 1)))" >/dev/null &
			pgbench_run append_event 4 "$accounts" '' -T "$seconds" -R 1000 >/dev/null
			wait $!
			# the rival goes by id, in which order a position is not the last word
			[[ $how == poll_by_xmin ]] || { await_sequencer; found=$(run_sql -c 'SELECT bench.wrongly_delivered()'); }
			[[ $found == 0 ]] || fail "$how: $found events were not delivered just once"
			run_sql -c "INSERT INTO bench.result (workload, contender, unit, round, value)
				SELECT 'delivery, 1,000 events/s', '$how', unit, $round, value
				  FROM (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) AS median, percentile_cont(0.99) WITHIN GROUP (ORDER BY ms) AS p99 FROM bench.delivered) d,
				       LATERAL (VALUES ('ms, median', median), ('ms, 99 %', p99)) v(unit, value)"
		done
	done
}

# What is there is sequenced, read and worked off from the beginning.
measure_catching_up()
{
	local round how found
	progress 'catching up'
	found=$(run_sql -c 'SELECT pointstore.feed_head()')
	((found >= catch_up_events)) || fail "feed: there are $found events to catch up with, not $catch_up_events"
	for ((round = 1; round <= rounds; round++)); do
		for how in $(in_turn "$round" read_feed claim queue); do
			found=$(run_sql -c "SELECT bench.prepare_$how()" -c '\timing on' -c "CALL bench.work_off_$how($catch_up_events)" | awk '/^Time:/ { ms += $2 } END { print ms }')
			run_sql -c "INSERT INTO bench.result (workload, contender, unit, round, value) VALUES ('catching up', '$how', 'events/s', $round, $catch_up_events / $found * 1000)"
		done
	done
	found=$(run_sql -c 'SELECT count(*) FROM pointstore.event_store e WHERE pointstore.position_of(e.id) IS NULL')
	[[ $found == 0 ]] || fail "feed: $found events have no position"
}
