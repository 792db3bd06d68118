# test/bench/held_back.sh
# A group of 8 members on 16 slots at full append load while a session that does nothing keeps old row
# versions from being removed; and 8 workers of a queue table in its place. How many events they work off
# in the first tenth of the time and in the last. One run of each: it is a long one. Fails when an event was
# not given to just one of them. To be sourced by run.

measure_held_back()
{
	local how
	for how in group queue; do
		measure_group "$how" "row versions kept $held_back_seconds s, $([[ $how == group ]] && echo '16 slots, 8 members' || echo 'queue, 8 workers')"
		run_sql -c "SELECT bench.start_following('nobody')" -c 'TRUNCATE bench.worked' -c VACUUM >/dev/null
	done
}

# measure_group group|queue WORKLOAD
measure_group()
{
	local how=$1 workload=$2 start finish done i workers=() idle
	progress "$workload"
	switch_sequencer "$([[ $how == group ]] && echo on || echo off)"
	[[ $how == queue ]] || await_sequencer
	run_sql -c "SELECT bench.start_following('$how')" >/dev/null
	exec {idle}> >(PGAPPNAME=idle run_sql >/dev/null)
	echo 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1;' >&"$idle"
	await_session "application_name = 'idle' AND state = 'idle in transaction' AND backend_xmin IS NOT NULL"
	start=$(run_sql -c 'SELECT clock_timestamp()')
	finish=$(run_sql -c "SELECT timestamptz '$start' + interval '$((held_back_seconds + 2)) s'")
	for ((i = 1; i <= 8; i++)); do
		run_sql -c "CALL bench.work('$how', 'worker-$i', '$finish')" &
		workers+=($!)
	done
	read -r done _ < <(pgbench_run append_event 8 "$accounts" '' -T "$held_back_seconds")
	for i in "${workers[@]}"; do
		wait "$i" || fail "$workload: one of those who work has failed"
	done
	echo 'COMMIT;' >&"$idle"
	exec {idle}>&-
	record_group "$how" "$workload" "$start" "$done"
}

# record_group HOW WORKLOAD START APPENDED
record_group()
{
	local worked left tenth=$((held_back_seconds > 10 ? held_back_seconds / 10 : 1))
	if [[ $1 == group ]]; then
		await_sequencer
		left=$(run_sql -c "SELECT sum(lag_events) FROM pointstore.subscription_status WHERE subscription = 'bench'")
	else
		left=$(run_sql -c 'SELECT count(*) FROM bench.queue')
	fi
	worked=$(run_sql -c 'SELECT sum(events) FROM bench.worked')
	((worked + left == $4)) || fail "$2: of $4 events $worked were worked off and $left were left"
	record "$2" end 'events left' 1 "$left"
	run_sql -c "INSERT INTO bench.result (workload, contender, unit, round, value)
		SELECT '$2', p.part, v.unit, 1, v.value
		  FROM (SELECT min(e.created_at) AS first, max(e.created_at) AS last FROM pointstore.event_store e WHERE e.created_at >= '$3') run,
		       LATERAL (VALUES ('beginning', run.first), ('end', run.last - interval '$tenth s')) p(part, begins),
		       LATERAL (SELECT coalesce(sum(w.events), 0) AS events, sum(w.ms) / nullif(sum(w.claims), 0) AS ms, sum(w.events) / nullif(sum(w.claims), 0) AS per_claim
		                  FROM bench.worked w WHERE w.at >= p.begins AND w.at < p.begins + interval '$tenth s') w,
		       LATERAL (SELECT count(*) AS events
		                  FROM pointstore.event_store e WHERE e.created_at >= p.begins AND e.created_at < p.begins + interval '$tenth s') e,
		       LATERAL (VALUES ('events/s', w.events / $tenth.0), ('appends/s', e.events / $tenth.0), ('ms/claim', w.ms), ('events/claim', w.per_claim)) v(unit, value)
		 WHERE v.value IS NOT NULL
		 ORDER BY v.unit, p.begins"
}
