# test/bench/batches.sh
# The batches' part of the run: append_events with 10 to 10,000 events in a call and a
# transaction, over distinct accounts and on one hot account, against COPY of the
# resulting rows into a table with the same indexes and as many rows, without
# triggers. To be sourced by run.

measure_batches()
{
	local size
	# what COPY goes into
	run_sql -c 'CREATE TABLE rival.indexed (LIKE pointstore.event_store INCLUDING INDEXES)' \
		-c 'INSERT INTO rival.indexed SELECT * FROM pointstore.event_store ORDER BY id'
	for size in 10 100 1000 10000; do
		measure_batch "batches of $size, distinct accounts" "$size" 'i * 7919::bigint % :accounts + 1'
		measure_batch "batches of $size, one hot account" "$size" 1
	done
	run_sql -c 'DROP TABLE rival.indexed'
}

# measure_batch WORKLOAD SIZE ACCOUNT, an expression of i
measure_batch()
{
	local round before last contender
	progress "$1"
	for ((round = 1; round <= rounds; round++)); do
		before=$(stored append_event)
		last=$(run_sql -c 'SELECT max(id) FROM pointstore.event_store')
		run_sql -v accounts="$accounts" <<-END
			TRUNCATE bench.batch;
			INSERT INTO bench.batch
			SELECT i / $2, jsonb_agg(jsonb_build_object('aggregate_id', ($3)::text, 'event_type', 'PointAdjusted', 'amount', 1,
			       'payload', '$payload'::jsonb, 'request_id', '$1-$round-' || i))
			  FROM generate_series(0, $batch_events - 1) i GROUP BY i / $2;
		END
		run_sql -c CHECKPOINT
		statement_of_append_events | rows_per_second "$1" append_events "$round"
		check_stored "$1" append_event "$before" "$batch_events"
		run_sql -c "COPY (SELECT * FROM pointstore.event_store WHERE id > $last ORDER BY id) TO '$scratch/events'" -c CHECKPOINT
		echo "COPY rival.indexed FROM '$scratch/events';" | rows_per_second "$1" indexed "$round"
	done
	check_balances "$1"
}

# rows_per_second WORKLOAD CONTENDER ROUND: of standard input, in a fresh session
rows_per_second()
{
	{
		echo 'SELECT clock_timestamp() AS start \gset'
		cat
		echo "INSERT INTO bench.result (workload, contender, unit, round, value)
			SELECT '$1', '$2', 'rows/s', $3, $batch_events / extract(epoch FROM clock_timestamp() - :'start');"
	} | run_sql -o /dev/null
}
