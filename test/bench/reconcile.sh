# test/bench/reconcile.sh
# The reconciler's part of the run, beside plain SQL on the same store: G, the FULL
# JOIN of balances with a GROUP BY of the events, and W, a window function that
# checks the chain (history.sql). To be sourced by run.
#
# Each store is a database of its own, gone when it has been measured. G, W and the
# reconciler work there with the same work_mem and with PostgreSQL's default of
# parallel workers. After every workload all runs must have been clean with no
# account unverified, and the last full one must have read every event.

measure_reconcile()
{
	local accounts
	for accounts in $reconcile_accounts; do
		make_store store "$reconcile_events" "$accounts"
		measure_full
		# once, on the first store
		if [[ $accounts == "${reconcile_accounts%% *}" ]]; then
			make_store tenth $((reconcile_events / 10)) "$accounts"
			measure_incremental
			dropdb tenth
			measure_disturbance
		fi
		dropdb store
	done
}

# make_store NAME EVENTS ACCOUNTS
make_store()
{
	progress "a store of $2 events of $3 accounts"
	createdb "$1"
	run_sql -c "ALTER DATABASE $1 SET work_mem = '$work_mem'"
	in_store "$1" run_sql -v events="$2" -v accounts="$3" -f "$bench/history.sql" >/dev/null
}

# in_store NAME COMMAND...
in_store()
{
	PGDATABASE=$1 "${@:2}"
}

# check_runs STORE WHAT; nothing is being appended now.
check_runs()
{
	local faults
	in_store "$1" run_sql -c "CALL pointstore.reconcile('full')" >/dev/null
	faults=$(in_store "$1" run_sql -c "SELECT count(*) FROM pointstore.reconciliation_run WHERE status <> 'clean' OR findings > 0 OR unverified > 0")
	[[ $faults == 0 ]] || fail "$2: $faults runs of the reconciler were not clean"
	faults=$(in_store "$1" run_sql -c "SELECT (SELECT count(*) FROM pointstore.event_store) - events_checked
		FROM pointstore.reconciliation_run ORDER BY id DESC LIMIT 1")
	[[ $faults == 0 ]] || fail "$2: a full run did not read $faults events"
}

# seconds_of STORE CONTENDER: in a fresh session; what G and W count must be 0.
seconds_of()
{
	local line
	line=$(in_store "$1" run_sql <<-END
		\\set found 0
		SELECT clock_timestamp() AS start \\gset
		$("statement_of_$2") \\gset
		SELECT extract(epoch FROM clock_timestamp() - :'start'), :found;
	END
	) || fail "$2 failed"
	[[ $line == *'|0' ]] || fail "$2 found ${line#*|}"
	echo "${line%|*}"
}

statement_of_full() { echo "CALL pointstore.reconcile('full')"; }
statement_of_first() { statement_of_full; }
statement_of_incremental() { echo 'CALL pointstore.reconcile()'; }
statement_of_G() { echo 'SELECT count(*) AS found FROM rival.g'; }
# by sorting: along the primary key, as the planner would have it, takes three times as long
statement_of_W() { echo 'SET enable_indexscan = off; SELECT count(*) AS found FROM rival.w'; }

# Full runs: once while no account is proved yet, and then beside G and W.
measure_full()
{
	local workload="full run, $accounts accounts" round contender
	progress "$workload"
	record_memory "$workload" first
	check_runs store "$workload"
	record_memory "$workload" full
	for ((round = 1; round <= rounds; round++)); do
		for contender in $(in_turn "$round" full G W); do
			record_seconds "$workload" "$contender" "$round" store "$contender"
		done
		run_sql -c "INSERT INTO bench.result (workload, contender, unit, round, value)
			SELECT workload, 'G + W', unit, round, sum(value) FROM bench.result
			 WHERE (workload, unit, round) = ('$workload', 's', $round) AND contender IN ('G', 'W') GROUP BY 1, 3, 4"
	done
	check_runs store "$workload"
}

# record_seconds WORKLOAD NAME ROUND STORE CONTENDER
record_seconds()
{
	local seconds
	seconds=$(seconds_of "$4" "$5")
	record "$1" "$2" s "$3" "$seconds"
}

# record_memory WORKLOAD CONTENDER: of one run on the store, its time and the most
# memory beside shared memory that any process of the server had.
record_memory()
{
	local postmaster client now peak=0
	postmaster=$(head -n 1 "$scratch/data/postmaster.pid")
	record_seconds "$1" "$2, watched" 1 store "$2" &
	client=$!
	while kill -0 "$client" 2>/dev/null; do
		now=$({ cat /proc/[0-9]*/status 2>/dev/null || true; } | awk -v postmaster="$postmaster" '
			/^PPid/ { parent = $2 }
			/^VmHWM/ { peak = $2 }
			/^RssShmem/ && parent == postmaster && peak - $2 > most { most = peak - $2 }
			END { print most + 0 }')
		peak=$((now > peak ? now : peak))
		sleep 0.05
	done
	wait "$client"
	record "$1" "$2, watched" 'MB, largest process' 1 $((peak / 1024))
}

# Runs after one event more in each of 1 % of the accounts, here and in a store with a tenth of the history.
measure_incremental()
{
	local workload='incremental run, 1 % of the accounts changed' round contender
	progress "$workload"
	in_store tenth run_sql -c "CALL pointstore.reconcile('full')" >/dev/null
	for ((round = 1; round <= rounds; round++)); do
		for contender in $(in_turn "$round" incremental tenth full); do
			case $contender in
				tenth) incremental_round tenth incremental 'tenth of the history' ;;
				*) incremental_round store "$contender" "$contender" ;;
			esac
		done
	done
	check_runs tenth "$workload"
	check_runs store "$workload"
}

# incremental_round STORE CONTENDER NAME
incremental_round()
{
	local checked
	in_store "$1" run_sql -c "INSERT INTO pointstore.event_store (aggregate_id, event_type, amount)
		SELECT i * 100, 'PointAdjusted', 1 FROM generate_series(1, $accounts / 100) i"
	record_seconds "$workload" "$3" "$round" "$1" "$2"
	checked=$(in_store "$1" run_sql -c "SELECT accounts_checked FROM pointstore.reconciliation_run ORDER BY id DESC LIMIT 1")
	[[ $2 == full || $checked == $((accounts / 100)) ]] || fail "$workload: $checked accounts were checked"
}

# Appends alone, and while workers make one full run after another; the round ends
# with the last of them.
measure_disturbance()
{
	local workload='8 clients appending, full runs meanwhile' round contender
	progress "$workload"
	for ((round = 1; round <= rounds; round++)); do
		for contender in $(in_turn "$round" undisturbed disturbed); do
			"appends_$contender"
		done
	done
	check_runs store "$workload"
}

appends_undisturbed()
{
	local before acknowledged tps
	before=$(in_store store stored append_event)
	read -r acknowledged tps < <(in_store store pgbench_run append_event 8 "$accounts" '' -T "$disturbed_seconds")
	in_store store check_stored "$workload" append_event "$before" "$acknowledged"
	record "$workload" "$contender" tps "$round" "$tps"
}

appends_disturbed()
{
	local reconciler since seconds
	since=$(in_store store run_sql -c 'SELECT max(id) FROM pointstore.reconciliation_run')
	in_store store run_sql -c "CALL rival.reconcile_for($disturbed_seconds)" &
	reconciler=$!
	appends_undisturbed
	wait "$reconciler"
	seconds=$(in_store store run_sql -c "SELECT avg(extract(epoch FROM finished_at - started_at)) FROM pointstore.reconciliation_run WHERE id > $since")
	record "$workload" 'full run meanwhile' s "$round" "$seconds"
}
