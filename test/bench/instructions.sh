# test/bench/instructions.sh
# The instructions part of the run: what a call costs of the backend's own instructions, by
# callgrind, in a transaction of its own: the difference between a short run and a long one
# of one client, so that what a session does first is left out. The kernel's part is not
# counted, nor what else the machine does: the only figure that another load leaves alone.
# Needs valgrind. To be sourced by run.

instructed=(append_event update lock transfer double_entry)

measure_instructions()
{
	local round contender
	command -v valgrind >/dev/null || fail 'the part instructions needs valgrind'
	[[ -n $(run_sql -c "SELECT to_regclass('rival.party')") ]] || run_sql -v accounts="$accounts" -f "$bench/rival_transfer.sql" >/dev/null
	start_under_callgrind
	for ((round = 1; round <= rounds; round++)); do
		progress "instructions, round $round"
		for contender in $(in_turn "$round" "${instructed[@]}"); do
			record 'instructions' "$contender" 'instructions/call' "$round" $((($(count_instructions "$contender" 300) - $(count_instructions "$contender" 100)) / 200))
		done
	done
	stop_cluster
	as_server_user "$(server_bin)/pg_ctl" -D "$scratch/data" -l "$scratch/server.log" -w start >/dev/null
}

server_bin()
{
	"${PG_CONFIG:-pg_config}" --bindir
}

start_under_callgrind()
{
	stop_cluster
	as_server_user mkdir "$scratch/callgrind"
	printf '%s\n' '#!/bin/sh' "exec valgrind --tool=callgrind --trace-children=yes --callgrind-out-file=$scratch/callgrind/%p --log-file=/dev/null $(server_bin)/postgres \"\$@\"" |
		as_server_user tee "$scratch/callgrind.sh" >/dev/null
	as_server_user chmod +x "$scratch/callgrind.sh"
	as_server_user "$(server_bin)/pg_ctl" -D "$scratch/data" -l "$scratch/server.log" -p "$scratch/callgrind.sh" -t 300 -w start >/dev/null ||
		{ cat "$scratch/server.log" >&2; fail 'the cluster does not start under valgrind'; }
}

# count_instructions CONTENDER CALLS: those of the backend that made so many calls, and of whatever it did first.
count_instructions()
{
	as_server_user touch "$scratch/before"
	pgbench_run "$1" 1 "$accounts" '' -t "$2" -D to_one=false >/dev/null
	until [[ -z $(run_sql -c "SELECT 1 FROM pg_stat_activity WHERE application_name = 'pgbench'") ]]; do sleep 0.1; done
	sleep 1
	find "$scratch/callgrind" -type f -newer "$scratch/before" -exec grep -h '^totals:' {} + | awk '$2 > most { most = $2 } END { print most }'
}
