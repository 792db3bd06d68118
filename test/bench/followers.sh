# test/bench/followers.sh
# Who follows the events, and what appends pay for it: nobody, one member of a subscription, a queue
# table with its worker, a notification for each append with who listens, a projection that counts
# by day, and the same by triggers. Whoever does not need the sequencer goes without it. To be
# sourced by run.

# the program that listens
compile_listener()
{
	local config=${PG_CONFIG:-pg_config}
	gcc -O2 -I"$("$config" --includedir)" -o "$scratch/listen" "$bench/listen.c" -L"$("$config" --libdir)" -Wl,-rpath,"$("$config" --libdir)" -lpq ||
		fail 'listen.c does not compile: libpq and its header are missing'
}

# start_follower HOW SECONDS: and waits until it follows
start_follower()
{
	run_sql -c "SELECT bench.start_following('$1')" >/dev/null
	follower=
	case $1 in
		claim | wait_for_feed | poll_by_xmin | queue)
			PGAPPNAME=follower run_sql -c "CALL bench.follow_by_$1($2)" >/dev/null &
			follower=$!
			await_session "application_name = 'follower'"
			;;
		notify)
			"$scratch/listen" "$2" &
			follower=$!
			await_session "application_name = 'listener' AND state = 'idle' AND query LIKE 'LISTEN%'"
			;;
	esac
}

await_session()
{
	until [[ $(run_sql -c "SELECT count(*) FROM pg_stat_activity WHERE $1") != 0 ]]; do sleep 0.05; done
}

end_follower()
{
	[[ -z $follower ]] || wait "$follower" || fail "$1: who follows has failed"
}

# check_follower HOW: it was given each event once
check_follower()
{
	local found
	# the rival goes by id, in which order a position is not the last word
	[[ -n $follower && $1 != poll_by_xmin ]] || return 0
	[[ $(run_sql -c 'SELECT pointstore.sequencer_alive()') == f ]] || await_sequencer
	found=$(run_sql -c 'SELECT bench.wrongly_delivered()')
	[[ $found == 0 ]] || fail "$1: $found events were not delivered just once"
}

measure_followers()
{
	local workload='appends and who follows, 8 clients' round how done tps cpu
	progress "$workload"
	for ((round = 1; round <= rounds; round++)); do
		for how in $(in_turn "$round" nobody claim queue notify projection trigger trigger_spread); do
			case $how in
				claim) switch_sequencer on && await_sequencer ;;
				projection) switch_sequencer on 2 && await_sequencer && run_sql -c 'SELECT bench.project(NULL)' >/dev/null ;;
				*) switch_sequencer off ;;
			esac
			start_follower "$how" $((seconds + 1))
			cpu=$(server_cpu)
			read -r done tps < <(pgbench_run append_event 8 "$accounts" '' -T "$seconds")
			# what is left when the appends end is paid for, too
			[[ $how != projection ]] || await_projection
			end_follower "$how"
			record "$workload" "$how" tps "$round" "$tps"
			record_cpu "$workload" "$how" "$round" "$cpu" "$done"
			check_follower "$how"
			check_model "$how" "$done"
		done
	done
	run_sql -c "SELECT bench.start_following('nobody')" -c VACUUM >/dev/null
	switch_sequencer on
	await_sequencer
}

# check_model HOW EVENTS: those of a run are counted, and no others
check_model()
{
	local table found=
	case $1 in
		projection) table=model.day ;;
		trigger | trigger_spread) table=model.${1/trigger/trigger_day} ;;
		*) return 0 ;;
	esac
	found=$(run_sql -c "SELECT sum(events) FROM $table")
	[[ $found == "$2" ]] || fail "$1: $found events are counted, of $2"
	run_sql -c "DELETE FROM $table"
	[[ $1 != projection ]] || run_sql -c 'SET ROLE bench_modeller' -c "SELECT pointstore.drop_projection('by_day')" >/dev/null
}

await_projection()
{
	await_sequencer
	until [[ $(run_sql -c "SELECT min(checkpoint) >= pointstore.feed_head() FROM pointstore.projection_status WHERE name = 'by_day'") == t ]]; do sleep 0.1; done
}

# the projection has been through everything
check_projection()
{
	local found
	found=$(run_sql -c 'SELECT (SELECT sum(events) FROM model.day) - (SELECT count(*) FROM pointstore.event_store)')
	[[ $found == 0 ]] || fail "projection: its model is wrong by $found events"
}
