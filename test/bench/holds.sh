# test/bench/holds.sh
# The holds' part of the run: transfers against a hand-written one (rival_transfer.sql) and
# the floor, hold and confirm against two appends, and an append to an account with 10,000 open
# holds against one with none. To be sourced by run.

measure_holds()
{
	run_sql -v accounts="$accounts" -f "$bench/rival_transfer.sql" >/dev/null
	measure_holding 'transfers, 8 clients, uniform' 8 transfer submit_transfer double_entry floor
	measure_holding 'transfers, 1 client, uniform' 1 transfer submit_transfer double_entry floor
	to_one=true measure_holding 'transfers to one account, 64 clients' 64 transfer submit_transfer double_entry floor
	measure_holding 'hold and confirm, 8 clients, uniform' 8 hold_confirm two_appends
	measure_holding 'hold and confirm, 1 client, uniform' 1 hold_confirm two_appends
	measure_holding '10,000 open holds, 1 client' 1 append_held append_unheld
	local found
	found=$(run_sql -c 'SET client_min_messages = error' -c "CALL pointstore.reconcile('full')" -c 'SELECT count(*) FROM pointstore.finding')
	[[ ${found##*$'\n'} == 0 ]] || fail "holds: $found findings"
	found=$(run_sql -c "SELECT bench.faults('rival.party', 'rival.entry')")
	[[ $found == 0 ]] || fail "double_entry: $found balances are not what their events say"
	found=$(run_sql -c 'SELECT sum(balance) - count(*) * 1000000 FROM rival.party')
	[[ $found == 0 ]] || fail "double_entry: $found more than there was"
}

# measure_holding WORKLOAD CLIENTS CONTENDER...
measure_holding()
{
	local workload=$1 clients=$2 round contender cpu done tps
	shift 2
	progress "$workload"
	for ((round = 1; round <= rounds; round++)); do
		for contender in $(in_turn "$round" "$@"); do
			cpu=$(server_cpu)
			read -r done tps < <(pgbench_run "$contender" "$clients" "$accounts" '' -T "$seconds" -D to_one="${to_one:-false}")
			record_cpu "$workload" "$contender" "$round" "$cpu" "$done"
			record "$workload" "$contender" tps "$round" "$tps"
		done
	done
	run_sql -c VACUUM
}
