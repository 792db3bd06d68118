#!/bin/bash
# test/soak/sequence.sh
# A store of old with many events is caught up with: the sequencer is stopped and started in the middle, and killed; and
# then a transaction holds an id open while as many other events pass. Prints memory, transactions, time
# and rows of feed_block, and fails where the feed is not whole in the end, or is not bounded.
#
# SOAK_EVENTS: how many events, twice (10000000)

set -euo pipefail

events=${SOAK_EVENTS:-10000000}
soak=$(cd "$(dirname "$0")" && pwd)
. "$soak/../env/lib.sh"

main()
{
	[[ -n ${CHECK_INSTALLED:-} ]] || { require_packages; build_and_install; }
	make_scratch
	trap 'stop_cluster immediate; rm -rf "$scratch"' EXIT
	start_cluster 'shared_buffers = 1GB' 'max_wal_size = 8GB' 'fsync = off' 'max_worker_processes = 16' \
		"pointstore.databases = 'postgres'" 'pointstore.sequencer = off' 'pointstore.reconcile_interval = 0' 'pointstore.full_reconcile_interval = 0'
	run_sql -c 'CREATE EXTENSION pointstore' -c 'SELECT pointstore.create_store()' >/dev/null
	catch_up
	pass_a_gap
	found=$(run_sql -c 'SELECT count(*) FROM pointstore.feed_check()')
	[[ $found == 0 ]] || fail "feed_check() has $found faults"
	echo "feed_check(): none"
}

run_sql()
{
	psql -XqAt -v ON_ERROR_STOP=1 "$@"
}

# history FROM N: events as somebody else has brought them, in transactions of 500,000
history()
{
	local i
	for ((i = 0; i < $2; i += 500000)); do
		run_sql -c 'SET session_replication_role = replica' -c "
			INSERT INTO pointstore.event_store (id, aggregate_id, version, event_type, amount, held, balance_after, payload, occurred_at, created_at)
			SELECT nextval('pointstore.event_store_id_seq'), '$1-' || g % 10000, 1 + g / 10000, 'Earned', 1, 0, 1 + g / 10000, '{}', now(), now()
			  FROM generate_series($i, LEAST($i + 500000, $2) - 1) g"
	done
}

switch_sequencer()
{
	run_sql -c "ALTER SYSTEM SET pointstore.sequencer = $1" -c 'SELECT pg_reload_conf()' >/dev/null
	until [[ $(run_sql -c 'SELECT pointstore.sequencer_alive()') == "$([[ $1 == on ]] && echo t || echo f)" ]]; do sleep 0.1; done
}

sequencer_pid()
{
	run_sql -c "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pointstore sequencer'"
}

# watch HEAD: until the head is there; the highest RssAnon (kB), the longest transaction seen (ms)
watch()
{
	local head=0 pid rss age
	while ((head < $1)); do
		IFS='|' read -r head pid age < <(run_sql -c "SELECT pointstore.feed_head(), coalesce(max(pid), 0), coalesce(max(extract(epoch FROM clock_timestamp() - xact_start) * 1000)::integer, 0)
			FROM pg_stat_activity WHERE backend_type = 'pointstore sequencer'")
		rss=$(awk '/^RssAnon/ { print $2 }' "/proc/$pid/status" 2>/dev/null || true)
		((${rss:-0} <= most_rss)) || most_rss=$rss
		((age <= longest)) || longest=$age
	done
}

catch_up()
{
	local begun status
	echo "$(date +%H:%M:%S) $events events of before" >&2
	history old "$events"
	most_rss=0 longest=0
	begun=$(date +%s%N)
	switch_sequencer on
	watch $((events / 4))
	status=$(run_sql -c 'SELECT head, unsequenced FROM pointstore.feed_status')
	switch_sequencer off
	echo "stopped: head|unsequenced $status"
	switch_sequencer on
	watch $((events / 2))
	kill -TERM "$(sequencer_pid)" || true
	watch "$events"
	echo "catching up: $events events in $((($(date +%s%N) - begun) / 1000000)) ms, RssAnon at most $most_rss kB, transactions seen of $longest ms at most," \
		"$(run_sql -c 'SELECT count(*) FROM pointstore.feed_block') blocks"
	((most_rss < 65536)) || fail 'memory is not bounded'
}

# One transaction draws an id now and then, a hundred in all, while all others pass.
pass_a_gap()
{
	local begun i
	coproc open { psql -XqAt -v ON_ERROR_STOP=1; }
	echo "BEGIN; SELECT 'drawn ' || (pointstore.append_event('open', 'Earned', 1)).id;" >&"${open[1]}"
	read -r _ <&"${open[0]}"
	most_rss=0 longest=0
	for ((i = 0; i < 20; i++)); do
		history "new$i" $((events / 20))
		echo "SELECT 'drawn ' || count(pointstore.append_event('open', 'Earned', 1)) FROM generate_series(1, 5);" >&"${open[1]}"
		read -r _ <&"${open[0]}"
	done
	watch $((events + (events / 20) * 20))
	echo "behind a transaction that is open: gaps|unsequenced|blocks $(run_sql -c "SELECT gaps, unsequenced, (SELECT count(*) FROM pointstore.feed_block) FROM pointstore.feed_status"), RssAnon at most $most_rss kB"
	begun=$(date +%s%N)
	echo 'COMMIT; \q' >&"${open[1]}"
	watch $((events + (events / 20) * 20 + 101))
	echo "its 101 events: given $((($(date +%s%N) - begun) / 1000000)) ms after the commit, transactions seen of $longest ms at most"
	((most_rss < 65536)) || fail 'memory is not bounded'
}

main
