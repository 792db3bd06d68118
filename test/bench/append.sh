# test/bench/append.sh
# The append part of the run: bytes of WAL and of the event table with its indexes per
# event, calls of append_event inside one statement, and COPY into the event table.
# To be sourced by run.

appenders=(append_event update lock floor)

measure_append()
{
	measure_bytes
	measure_statement
	measure_copy "COPY, $accounts accounts" "$copy_rows" "$accounts"
	measure_copy 'COPY, one account' $((copy_rows / 10)) 1
}

# WAL of the same number of single calls, without full-page images and from a checkpoint
# on with them, and the size of the event tables after that. The same random numbers for
# every contender, so that all do the same appends.
measure_bytes()
{
	local images round contender seed=0
	for images in off on; do
		run_sql -c "ALTER SYSTEM SET full_page_writes = $images" -c 'SELECT pg_reload_conf()' >/dev/null
		sleep 1
		for ((round = 1; round <= rounds; round++)); do
			seed=$((seed + 1))
			measure_wal "$([[ $images == on ]] && echo 'WAL, page images from a checkpoint on' || echo 'WAL, no page images')" "$round"
		done
	done
	for contender in "${appenders[@]}"; do
		run_sql -c "INSERT INTO bench.result (workload, contender, unit, round, value)
			SELECT 'event table and indexes', '$contender', unit, 1, bytes::float8 / count(*)
			  FROM ${event_table[$contender]}, (VALUES
			       ('bytes/event', pg_total_relation_size('${event_table[$contender]}')),
			       ('bytes/event, indexes', pg_indexes_size('${event_table[$contender]}'))) v(unit, bytes)
			 GROUP BY unit, bytes"
	done
	check_balances 'bytes per event'
}

# measure_wal WORKLOAD ROUND, with the caller's seed
measure_wal()
{
	local workload=$1 round=$2 contender before acknowledged _ start
	progress "$workload"
	for contender in $(in_turn "$round" "${appenders[@]}"); do
		run_sql -c CHECKPOINT
		before=$(stored "$contender")
		start=$(run_sql -c 'SELECT pg_current_wal_insert_lsn()')
		read -r acknowledged _ < <(PGOPTIONS="$PGOPTIONS -c synchronous_commit=off" \
			pgbench_run "$contender" 1 "$accounts" '' -t "$events" --random-seed "$seed")
		run_sql -c "INSERT INTO bench.result (workload, contender, unit, round, value)
			VALUES ('$workload', '$contender', 'bytes/event', $round, (pg_current_wal_insert_lsn() - '$start') / $acknowledged)"
		check_stored "$workload" "$contender" "$before" "$acknowledged"
	done
}

# timed WORKLOAD CONTENDER ROUND EVENTS: runs standard input in a fresh session
# and records the time per event.
timed()
{
	{
		echo 'SELECT clock_timestamp() AS start \gset'
		cat
		echo "INSERT INTO bench.result (workload, contender, unit, round, value)
			SELECT '$1', '$2', 'us/event', $3, extract(epoch FROM clock_timestamp() - :'start') * 1e6 / $4;"
	} | run_sql -o /dev/null
}

# Many events inside one statement, over distinct accounts: a call for each, and
# append_events with 1,000 in a call and a transaction.
measure_statement()
{
	local round contender store before
	progress 'one statement'
	for ((round = 1; round <= rounds; round++)); do
		fill_batches "$round"
		for contender in $(in_turn "$round" append_event update lock append_events); do
			store=${contender/append_events/append_event}
			before=$(stored "$store")
			"statement_of_$contender" "$round" | timed 'one statement' "$contender" "$round" "$events"
			check_stored 'one statement' "$store" "$before" "$events"
		done
	done
	check_balances 'one statement'
}

statement_of_append_event() { calls_in_one_statement 'pointstore.append_event' "$1"; }
statement_of_update() { calls_in_one_statement 'rival.append_update' "$1"; }
statement_of_lock() { calls_in_one_statement 'rival.append_lock' "$1"; }

# calls_in_one_statement FUNCTION ROUND
calls_in_one_statement()
{
	cat <<-END
		SELECT count($1(a, 'PointAdjusted', 1, '$payload', $([[ $1 == pointstore.* ]] && echo 'request_id =>') r))
		  FROM (SELECT (i * 7919::bigint % $accounts + 1)::text, 'statement-$2-' || i
		          FROM generate_series(1, $events) i) x(a, r);
	END
}

fill_batches()
{
	run_sql -c 'TRUNCATE bench.batch' -c "INSERT INTO bench.batch
		SELECT i / 1000, jsonb_agg(jsonb_build_object('aggregate_id', (i * 7919::bigint % $accounts + 1)::text,
		       'event_type', 'PointAdjusted', 'amount', 1, 'payload', '$payload'::jsonb,
		       'request_id', 'batch-$1-' || i))
		  FROM generate_series(0, $events - 1) i GROUP BY i / 1000"
}

# measure_copy WORKLOAD ROWS ACCOUNTS: rows a second and the backend's peak memory of COPY into the event table,
# against what copy_update.sql says.
measure_copy()
{
	local workload=$1 rows=$2 range=$3 round before last
	progress "$workload"
	run_sql -f "$bench/copy_update.sql" >/dev/null
	for ((round = 1; round <= rounds; round++)); do
		before=$(stored append_event)
		last=$(run_sql -c 'SELECT max(id) FROM pointstore.event_store')
		run_sql -c "COPY (SELECT i * 7919::bigint % $range + 1, 'PointAdjusted', 1, 'copy-$range-$round-' || i
			FROM generate_series(1, $rows) i) TO '$scratch/events'" -c CHECKPOINT
		echo "COPY pointstore.event_store (aggregate_id, event_type, amount, request_id) FROM '$scratch/events';" |
			copy_in "$workload" COPY "$round" "$rows"
		check_stored "$workload" append_event "$before" "$rows"
		run_sql -c "COPY (SELECT * FROM pointstore.event_store WHERE id > $last ORDER BY id) TO '$scratch/events'" -c CHECKPOINT
		copy_and_update "$scratch/events" | copy_in "$workload" copy_update "$round" "$rows"
	done
	check_balances "$workload"
	check_copied "$workload"
}

# copy_in WORKLOAD CONTENDER ROUND ROWS: standard input, in a fresh session
copy_in()
{
	{
		echo 'SELECT pg_backend_pid() AS pid, clock_timestamp() AS start \gset'
		cat
		cat <<-END
			SELECT extract(epoch FROM clock_timestamp() - :'start') AS seconds \\gset
			\\setenv BACKEND :pid
			\\set peak \`awk '/^VmHWM/ { print \$2 / 1024 }' /proc/\$BACKEND/status\`
			\\set private \`awk '/^VmHWM/ { peak = \$2 } /^RssShmem/ { print (peak - \$2) / 1024 }' /proc/\$BACKEND/status\`
			INSERT INTO bench.result (workload, contender, unit, round, value) VALUES
				('$1', '$2', 'rows/s', $3, $4 / :seconds),
				('$1', '$2', 'MB, peak of the backend', $3, :peak),
				('$1', '$2', 'MB, without shared buffers', $3, :private);
		END
	} | run_sql -o /dev/null
}
