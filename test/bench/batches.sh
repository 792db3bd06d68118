# test/bench/batches.sh
# The batches' part of the run: append_events with 10 to 10,000 events in a call and a
# transaction, over distinct accounts and on one hot account, against COPY and UPDATE
# in transactions of the same size (copy_update.sql); and one call over many accounts
# against one over eight times as many. To be sourced by run.

measure_batches()
{
	local size
	run_sql -f "$bench/copy_update.sql" >/dev/null
	for size in 10 100 1000 10000; do
		measure_batch "batches of $size, distinct accounts" "$size" 'i * 7919::bigint % :accounts + 1'
		measure_batch "batches of $size, one hot account" "$size" 1
	done
	check_copied batches
	measure_many 'one call over many accounts' ''
	measure_many 'one call over new accounts' new
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
		rm -f "$scratch"/events.*
		split -a 5 -l "$2" "$scratch/events" "$scratch/events."
		copy_and_update "$scratch"/events.* | rows_per_second "$1" copy_update "$round"
	done
	check_balances "$1"
}

statement_of_append_events()
{
	cat <<-'END'
		SELECT format('SELECT count(*) FROM pointstore.append_events((SELECT events FROM bench.batch WHERE n = %s))', n)
		  FROM bench.batch ORDER BY n \gexec
	END
}

# copy_and_update FILE...: a transaction for each; the ids in a file rise.
copy_and_update()
{
	local file
	for file; do
		cat <<-END
			BEGIN;
			COPY rival.copied FROM '$file';
			UPDATE rival.updated b
			   SET version = b.version + e.events, balance = b.balance + e.total, updated_at = e.at
			  FROM (SELECT aggregate_id, count(*) AS events, sum(amount)::bigint AS total, max(created_at) AS at
			          FROM rival.copied WHERE id BETWEEN $(head -n 1 "$file" | cut -f1) AND $(tail -n 1 "$file" | cut -f1)
			         GROUP BY aggregate_id) e
			 WHERE b.aggregate_id = e.aggregate_id;
			COMMIT;
		END
	done
}

# check_copied WHAT: the rival has the same balances, and has the events for them
check_copied()
{
	local faults
	faults=$(run_sql -c "SELECT bench.faults('rival.updated', 'rival.copied')
		+ (SELECT count(*) FROM rival.updated u FULL JOIN pointstore.balance b USING (aggregate_id)
		    WHERE (u.version, u.balance) IS DISTINCT FROM (b.version, b.balance))")
	[[ $faults == 0 ]] || fail "$1, copy_update: $faults balances are not pointstore's"
	run_sql -c 'DROP TABLE rival.copied, rival.updated'
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

# measure_many WORKLOAD ''|new: an event for each of the accounts
measure_many()
{
	local round contender calls before
	progress "$1"
	for ((round = 1; round <= rounds; round++)); do
		for contender in $(in_turn "$round" many eightfold); do
			calls=$many; [[ $contender == many ]] || calls=$((8 * many))
			before=$(stored append_event)
			run_sql -c 'TRUNCATE bench.batch' -c "INSERT INTO bench.batch
				SELECT 0, jsonb_agg(jsonb_build_object('aggregate_id', '$2${2:+-$contender-$round-}' || i * 7919::bigint % $accounts + 1,
				       'event_type', 'PointAdjusted', 'amount', 1)) FROM generate_series(1, $calls) i" -c CHECKPOINT
			statement_of_append_events | timed "$1" "$contender" "$round" "$calls"
			check_stored "$1" append_event "$before" "$calls"
		done
	done
	check_balances "$1"
}
