# test/bench/balance_at.sh
# The balance_at part of the run: what was known of an account at a time drawn by lot,
# with 10 events, 10,000 and very many (balance_at.sql), in a database of its own. Of
# each: the time of a call and the buffers that it touched. Fails when an answer is not
# what a sum of the events says. To be sourced by run.

measure_balance_at()
{
	local workload='balance_at' round account faults
	progress "balance_at: a store with a history of $history_events events"
	createdb history
	PGDATABASE=history run_sql -v events="$history_events" -f "$bench/balance_at.sql" >/dev/null
	progress "$workload"
	for ((round = 0; round <= rounds; round++)); do
		for account in $(in_turn "$round" ten ten_thousand longest); do
			probe_account "$account" "$round"
		done
	done
	faults=$(PGDATABASE=history run_sql -c 'SELECT sum(bench.wrong_answers(name)) FROM bench.account')
	[[ $faults == 0 ]] || fail "$workload: $faults answers are wrong"
	dropdb history
}

# probe_account ACCOUNT ROUND; round 0 is to warm up
probe_account()
{
	local median p99 buffers most events
	read -r median p99 buffers most events < <(PGDATABASE=history run_sql -F ' ' -c "
		SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY p.ms), percentile_cont(0.99) WITHIN GROUP (ORDER BY p.ms),
		       avg(p.buffers), max(p.buffers), a.events
		  FROM bench.account a, bench.probe(a.name, 300) p WHERE a.name = '$1' GROUP BY a.events")
	(($2 > 0)) || return 0
	run_sql -c "INSERT INTO bench.result (workload, contender, unit, round, value) VALUES
		('$workload', '$1', 'ms, median', $2, $median), ('$workload', '$1', 'ms, 99 %', $2, $p99),
		('$workload', '$1', 'buffers', $2, $buffers), ('$workload', '$1', 'buffers, most', $2, $most),
		('$workload', '$1', 'buffers/log2(events)', $2, $buffers / log(2, $events))"
}
