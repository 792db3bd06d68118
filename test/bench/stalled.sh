# test/bench/stalled.sh
# The part of the run about what does not hold others up: submit_event on free accounts,
# alone, and while ten calls a second arrive on an account that another session has locked, has
# appended to as a pure one, or is opening. To be sourced by run.
#
# Those calls are cancelled after a second. They alone may be given back.

measure_stalled()
{
	run_sql -o /dev/null <<-'END'
		INSERT INTO pointstore.account_kind (kind, mode) VALUES ('stalled', 'pure');
		SELECT FROM pointstore.append_event('stalled-row', 'Opened', 1);
		SELECT FROM pointstore.append_event('stalled-pure', 'Opened', 1, kind => 'stalled');
	END
	measure_stalling 'a locked row' stalled-row
	measure_stalling 'an event of a pure account' stalled-pure
	measure_stalling 'an account being opened' stalled-new
	local found
	found=$(run_sql -c 'SET client_min_messages = error' -c "CALL pointstore.reconcile('full')" -c 'SELECT count(*) FROM pointstore.finding')
	[[ ${found##*$'\n'} == 0 ]] || fail "stalled: $found findings"
}

# measure_stalling WHAT ACCOUNT
measure_stalling()
{
	local workload="24 clients submitting, others wait for $1" round contender tps _
	progress "$workload"
	for ((round = 1; round <= rounds; round++)); do
		for contender in $(in_turn "$round" undisturbed disturbed); do
			[[ $contender == undisturbed ]] || start_stall "${2/new/new-$round}"
			read -r _ tps < <(pgbench_run submit_event 24 "$accounts" '' -T "$seconds")
			[[ $contender == undisturbed ]] || end_stall "$workload"
			record "$workload" "$contender" tps "$round" "$tps"
		done
	done
	run_sql -c VACUUM
}

# start_stall ACCOUNT: a session that keeps it, and ten that call once a second
start_stall()
{
	local i calls=$((seconds + 2))
	given_back=$(run_sql -c "$given_back_sql")
	most_given_back=$((10 * calls))
	stall=()
	run_sql -o /dev/null -c BEGIN -c "SELECT pointstore.append_event('$1', 'Kept', 1)" -c "SELECT pg_sleep($calls + 1)" -c COMMIT &
	stall+=($!)
	sleep 1
	for ((i = 0; i < 10; i++)); do
		{
			sleep "0.$i"
			yes "SELECT FROM pointstore.submit_event('$1', 'Late', 1);" | head -n "$calls" |
				PGOPTIONS='-c statement_timeout=1s' psql -XqAt >/dev/null 2>&1 || true
		} &
		stall+=($!)
	done
	sleep 1
}

given_back_sql='SELECT coalesce(sum(given_back), 0) FROM pointstore.pg_stat_pointstore WHERE database = current_database()'

end_stall()
{
	wait "${stall[@]}"
	given_back=$(($(run_sql -c "$given_back_sql") - given_back))
	((given_back <= most_given_back)) || fail "$1: $given_back calls were given back"
}
