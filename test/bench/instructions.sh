# test/bench/instructions.sh
# The instructions part of the run: what a call costs of the backend's own instructions, by
# callgrind, in a transaction of its own: the difference between a short run and a long one
# of one client, so that what a session does first is left out. The kernel's part is not
# counted, nor what else the machine does: the only figure that another load leaves alone.
# Needs valgrind. To be sourced by run.
#
# Of the feed, in a store of 200,000 events: a claim of 100 and its ack, a run of sequence_feed() over 100 new events (that
# function alone), a page of 1,000 at the beginning and at the end, and the last 1,000 events by a range scan of (id).

instructed=(${BENCH_INSTRUCTED:-append_event update lock transfer double_entry feed callers})

measure_instructions()
{
	local round contender
	command -v valgrind >/dev/null || fail 'the part instructions needs valgrind'
	[[ -n $(run_sql -c "SELECT to_regclass('rival.party')") ]] || run_sql -v accounts="$accounts" -f "$bench/rival_transfer.sql" >/dev/null
	[[ " ${instructed[*]} " != *' feed '* ]] || prepare_feed_instructions
	[[ " ${instructed[*]} " != *' callers '* ]] || prepare_callers
	start_under_callgrind
	for ((round = 1; round <= rounds; round++)); do
		progress "instructions, round $round"
		for contender in $(in_turn "$round" "${instructed[@]}"); do
			if [[ $contender == feed ]]; then
				calls=20 measure_feed_instructions "$round"
			elif [[ $contender == callers ]]; then
				measure_caller_instructions "$round"
			else
				calls=100 record_instructions instructions "$contender" "$round" "$contender"
			fi
		done
	done
	stop_cluster
	as_server_user "$(server_bin)/pg_ctl" -D "$scratch/data" -l "$scratch/server.log" -w start >/dev/null
}

# record_instructions WORKLOAD CONTENDER ROUND SCRIPT [OPTION...]: of a call, by two runs of which one makes three times as many calls ($calls) as the other
record_instructions()
{
	local many few
	[[ $4 != claim ]] || run_sql -c 'SELECT bench.subscribe(0)' >/dev/null
	many=$(count_instructions "$4" $((3 * calls)) "${@:5}")
	[[ $4 != claim ]] || run_sql -c 'SELECT bench.subscribe(0)' >/dev/null
	few=$(count_instructions "$4" "$calls" "${@:5}")
	record "$1" "$2" 'instructions/call' "$3" $(((many - few) / (2 * calls)))
}

# a store of 200,000 events, sequenced by nobody but this run
prepare_feed_instructions()
{
	[[ -n $(run_sql -c "SELECT to_regclass('bench.delivered')") ]] || run_sql -f "$bench/feed.sql" >/dev/null
	run_sql -c 'ALTER SYSTEM SET pointstore.sequencer = off' -c 'ALTER SYSTEM SET pointstore.reconcile_interval = 0' \
		-c 'ALTER SYSTEM SET pointstore.full_reconcile_interval = 0' -c 'ALTER SYSTEM SET pointstore.projection_workers = 0' -c 'SELECT pg_reload_conf()' >/dev/null
	run_sql -c "INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, payload)
		SELECT (i % $accounts + 1)::text, 'PointAdjusted', 1, '$payload' FROM generate_series(1, 200000 - (SELECT count(*) FROM pointstore.event_store)) i" \
		-c 'VACUUM ANALYZE pointstore.event_store' >/dev/null
	until [[ $(run_sql -c 'SELECT pointstore.sequence_feed() = count(*) FROM pointstore.event_store') == t ]]; do :; done
}

# measure_feed_instructions ROUND
measure_feed_instructions()
{
	local workload='instructions, feed' last
	last=$(run_sql -c 'SELECT pointstore.feed_head() - 1000')
	record_instructions "$workload" 'claim of 100, ack' "$1" claim
	record_instructions "$workload" 'read_feed, 1,000 at the beginning' "$1" read_page -D after=0
	record_instructions "$workload" 'read_feed, 1,000 at the end' "$1" read_page -D after="$last"
	last=$(run_sql -c 'SELECT min(id) - 1 FROM (SELECT e.id FROM pointstore.event_store e ORDER BY e.id DESC LIMIT 1000) e')
	record_instructions "$workload" 'range scan, 1,000 at the end' "$1" range_scan -D after="$last"
	counted_function=pointstore_sequence_feed
	record_instructions "$workload" 'sequence_feed, 100 events' "$1" sequence
	counted_function=
}

server_bin()
{
	"${PG_CONFIG:-pg_config}" --bindir
}

# start_under_callgrind [FOLDER]: the cluster there instead of the bench's own
start_under_callgrind()
{
	local folder=${1:-data}
	as_server_user "$(server_bin)/pg_ctl" -D "$scratch/$folder" -m fast stop >/dev/null 2>&1 || true
	as_server_user mkdir -p "$scratch/callgrind"
	printf '%s\n' '#!/bin/sh' "exec valgrind --tool=callgrind --trace-children=yes --callgrind-out-file=$scratch/callgrind/%p --log-file=/dev/null $(server_bin)/postgres \"\$@\"" |
		as_server_user tee "$scratch/callgrind.sh" >/dev/null
	as_server_user chmod +x "$scratch/callgrind.sh"
	as_server_user "$(server_bin)/pg_ctl" -D "$scratch/$folder" -l "$scratch/server.log" -p "$scratch/callgrind.sh" -t 300 -w start >/dev/null ||
		{ cat "$scratch/server.log" >&2; fail 'the cluster does not start under valgrind'; }
}

# count_instructions SCRIPT CALLS [OPTION...]: those of the backend that made so many calls, and of whatever it did first; where
# counted_function is set, those of that function and of what it calls
counted_function=
count_instructions()
{
	local file
	as_server_user touch "$scratch/before"
	pgbench_run "$1" 1 "$accounts" '' -t "$2" -D to_one=false "${@:3}" >/dev/null
	until [[ -z $(run_sql -c "SELECT 1 FROM pg_stat_activity WHERE application_name = 'pgbench'") ]]; do sleep 0.1; done
	sleep 1
	file=$(find "$scratch/callgrind" -type f -newer "$scratch/before" -exec grep -H '^totals:' {} + | sort -t' ' -k2n | tail -n 1 | cut -d: -f1)
	if [[ -z $counted_function ]]; then
		awk '/^totals:/ { print $2 }' "$file"
	else
		callgrind_annotate --inclusive=yes --threshold=100 "$file" |
			awk -v name="$counted_function" '{ where = $0; sub(/ \[.*/, "", where); if (where ~ ":" name "$" && !found++) { gsub(",", "", $1); print $1 } }'
	fi
}
