#!/bin/bash
# test/soak/movements.sh
# Movements between three clusters for an hour, 200 a second of every protocol, while some process is killed with SIGKILL
# every few seconds: a server, a coordinator, a backend of a participant's. A line a minute says how many there
# were; in the end all must have ended, nothing be reserved, prepared, lost or doubled.
#
# SOAK_MINUTES: how long (60); SOAK_RATE: movements a second (200)

set -euo pipefail

minutes=${SOAK_MINUTES:-60}
rate=${SOAK_RATE:-200}
accounts=200
soak=$(cd "$(dirname "$0")" && pwd)
. "$soak/../env/lib.sh"
stores=(a b c)
kills=0 slowest=0

main()
{
	[[ -n ${CHECK_INSTALLED:-} ]] || { require_packages; build_and_install; }
	make_scratch
	trap 'end' EXIT
	bin=$("${PG_CONFIG:-pg_config}" --bindir)
	export PATH=$bin:$PATH PGHOST=$scratch PGDATABASE=postgres PGUSER
	PGUSER=$(server_user)
	start_stores
	write_load
	before=$(total)
	begun=$SECONDS
	run_load &
	load=$!
	kill_on
	wait "$load" || true
	settle
	check
}

end()
{
	local store
	touch "$scratch/over" 2>/dev/null || true
	for store in "${stores[@]}"; do
		as_server_user "$bin/pg_ctl" -D "$scratch/$store" -m immediate stop >/dev/null 2>&1 || true
	done
	wait
	[[ -n ${KEEP_SOAK:-} ]] || rm -rf "$scratch"
}

port_of()
{
	case $1 in a) echo 5432 ;; b) echo 5433 ;; c) echo 5434 ;; esac
}

# at STORE ARGUMENT...: psql there, as often as it needs until the server is there
at()
{
	local i store=$1
	shift
	for ((i = 0; i < 600; i++)); do
		PGPORT=$(port_of "$store") psql -XqAt -v ON_ERROR_STOP=1 "$@" 2>"$scratch/at.err" && return
		grep -qE 'connection|FATAL' "$scratch/at.err" || break
		sleep 0.1
	done
	cat "$scratch/at.err" >&2
	return 1
}

start_stores()
{
	local store other
	for store in "${stores[@]}"; do
		as_server_user initdb -D "$scratch/$store" -U "$PGUSER" -A trust -E UTF8 --no-locale >/dev/null
		printf '%s\n' "listen_addresses = ''" "unix_socket_directories = '$scratch'" "port = $(port_of "$store")" "shared_preload_libraries = 'pointstore'" \
			'max_connections = 80' 'max_prepared_transactions = 200' 'max_worker_processes = 16' 'shared_buffers = 256MB' 'max_wal_size = 4GB' "pointstore.databases = 'postgres'" \
			'pointstore.reconcile_interval = 60s' 'restart_after_crash = on' |
			as_server_user tee -a "$scratch/$store/postgresql.conf" >/dev/null
		start_server "$store"
		at "$store" -c 'CREATE EXTENSION pointstore' -c 'SELECT pointstore.create_store()' \
			-c "SELECT count(pointstore.append_event('$store-' || i, 'Earned', 1000000)) FROM generate_series(1, $accounts) i" >/dev/null
	done
	for store in "${stores[@]}"; do
		for other in "${stores[@]}"; do
			[[ $store != "$other" ]] || continue
			at "$other" -c "CREATE ROLE of_$store LOGIN" -c "SELECT pointstore.grant_access('of_$store', 'participant')" >/dev/null
			at "$store" -c "CREATE SERVER $other FOREIGN DATA WRAPPER pointstore OPTIONS (host '$scratch', port '$(port_of "$other")', dbname 'postgres')" \
				-c "CREATE USER MAPPING FOR CURRENT_USER SERVER $other OPTIONS (user 'of_$store')"
		done
	done
}

# start_server STORE: also where processes of the one that was killed are on their way out
start_server()
{
	local i
	for ((i = 0; i < 300; i++)); do
		as_server_user pg_ctl -D "$scratch/$1" -l "$scratch/$1.log" -w start >/dev/null 2>&1 && return
		sleep 0.1
	done
	tail -n 20 "$scratch/$1.log" >&2
	fail "$1 does not start"
}

# Three in four tcc; one in eight has three steps, and one in eight asks for more than there is.
write_load()
{
	cat >"$scratch/load.sql" <<'END'
\set payer random(1, :accounts)
\set payee random(1, :accounts)
\set third random(1, :accounts)
\set id random(1, 9000000000000000000)
\set dice random(1, 8)
\set protocol random(1, 8)
SELECT phase FROM pointstore.start_movement(:store || '-' || :id, CASE :dice
  WHEN 1 THEN jsonb_build_array(jsonb_build_object('aggregate_id', :one || '-' || :payer, 'amount', -3, 'event_type', 'Moved', 'server', :one),
    jsonb_build_object('aggregate_id', :store || '-' || :payee, 'amount', 1, 'event_type', 'Moved'),
    jsonb_build_object('aggregate_id', :two || '-' || :third, 'amount', 2, 'event_type', 'Moved', 'server', :two))
  WHEN 2 THEN jsonb_build_array(jsonb_build_object('aggregate_id', :one || '-' || :payer, 'amount', -1000000000, 'event_type', 'Moved', 'server', :one),
    jsonb_build_object('aggregate_id', :store || '-' || :payee, 'amount', 1000000000, 'event_type', 'Moved'))
  ELSE jsonb_build_array(jsonb_build_object('aggregate_id', :store || '-' || :payer, 'amount', -1, 'event_type', 'Moved'),
    jsonb_build_object('aggregate_id', :one || '-' || :payee, 'amount', 1, 'event_type', 'Moved', 'server', :one)) END,
  CASE :protocol WHEN 1 THEN 'saga' WHEN 2 THEN '2pc' ELSE 'tcc' END, '30 s');
END
}

# Callers at a, half as many at b; those whose server is killed begin anew.
run_load()
{
	load_at a b c $((rate * 2 / 3)) &
	load_at b c a $((rate / 3)) &
	wait
}

load_at()
{
	local left
	while [[ ! -e $scratch/over ]] && ((left = minutes * 60 - (SECONDS - begun), left > 0)); do
		PGPORT=$(port_of "$1") pgbench -n -c 4 -j 1 -R "$4" -T "$left" -D accounts=$accounts -D store="'$1'" -D one="'$2'" -D two="'$3'" -f "$scratch/load.sql" >>"$scratch/load.log" 2>&1 || true
		sleep 0.2
	done
}

kill_on()
{
	local store next=60
	while ((SECONDS - begun < minutes * 60)); do
		sleep $((3 + RANDOM % 12))
		store=${stores[RANDOM % 3]}
		case $((RANDOM % 4)) in
			0) kill_server "$store" ;;
			1) kill_process "$store" "backend_type = 'pointstore coordinator'" ;;
			2) kill_process "$store" "usename LIKE 'of\\_%'" ;;
			3) kill_process "$store" "backend_type IN ('client backend', 'checkpointer', 'walwriter')" ;;
		esac
		kills=$((kills + 1))
		if ((SECONDS - begun >= next)); then
			tell
			next=$((next + 60))
		fi
	done
}

kill_server()
{
	as_server_user kill -9 "$(head -n 1 "$scratch/$1/postmaster.pid")" || true
	start_server "$1"
}

kill_process()
{
	local pid
	pid=$(at "$1" -c "SELECT pid FROM pg_stat_activity WHERE $2 AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1")
	[[ -z $pid ]] || as_server_user kill -9 "$pid" || true
}

# What there is, and what is oldest of what has not ended.
tell()
{
	local store age
	printf '%5d s  %d kills' $((SECONDS - begun)) "$kills"
	for store in a b; do
		IFS='|' read -r n open stuck age < <(at "$store" -c "SELECT count(*), count(*) FILTER (WHERE finished_at IS NULL), count(*) FILTER (WHERE phase = 'stuck'),
			coalesce(extract(epoch FROM clock_timestamp() - min(started_at) FILTER (WHERE finished_at IS NULL))::integer, 0) FROM pointstore.movement")
		printf '  %s: %d movements, %d open, %d stuck, oldest %d s' "$store" "$n" "$open" "$stuck" "$age"
		((age <= slowest)) || slowest=$age
	done
	echo
}

settle()
{
	local store i left=$SECONDS
	for store in "${stores[@]}"; do
		for ((i = 0; i < 1200; i++)); do
			[[ $(at "$store" -c "SELECT count(*) FROM pointstore.movement WHERE finished_at IS NULL AND phase <> 'stuck'") != 0 ]] || break
			sleep 0.1
		done
		((i < 1200)) || { at "$store" -x -c 'SELECT * FROM pointstore.movement JOIN pointstore.movement_step USING (movement_id) WHERE finished_at IS NULL LIMIT 10'; fail "$store: there are movements that do not end"; }
	done
	echo "all had ended $((SECONDS - left)) s after the last had begun; the oldest that was seen open: $slowest s"
}

total()
{
	local store sum=0
	for store in "${stores[@]}"; do
		sum=$((sum + $(at "$store" -c 'SELECT sum(balance) FROM pointstore.balance')))
	done
	echo "$sum"
}

# nothing NAME STORE QUERY: the query counts none
nothing()
{
	local n
	n=$(at "$2" -c "$3")
	[[ $n == 0 ]] || { echo "$2: $1: $n"; faults=$((faults + 1)); }
}

check()
{
	local store faults=0 after
	after=$(total)
	[[ $after == "$before" ]] || { echo "there are $after, there were $before"; faults=1; }
	for store in "${stores[@]}"; do
		nothing stuck "$store" "SELECT count(*) FROM pointstore.movement WHERE phase = 'stuck'"
		nothing prepared "$store" 'SELECT count(*) FROM pg_prepared_xacts'
		nothing reserved "$store" "SELECT count(*) FROM pointstore.balance WHERE held <> 0 OR incoming <> 0"
		nothing 'open steps' "$store" "SELECT count(*) FROM pointstore.participant_step WHERE status IN ('tried', 'done')"
		# what moves nothing has no faults either
		[[ $store == c ]] || nothing 'protocols without an end' "$store" "SELECT count(*) FROM (VALUES ('tcc', 'confirmed'), ('tcc', 'cancelled'), ('saga', 'done'), ('saga', 'undone'), ('2pc', 'confirmed'), ('2pc', 'cancelled')) p(protocol, phase)
			WHERE NOT EXISTS (SELECT FROM pointstore.movement m WHERE (m.protocol, m.phase) = (p.protocol, p.phase))"
		at "$store" -c "CALL pointstore.reconcile('full')" >/dev/null
		nothing findings "$store" 'SELECT count(*) FROM pointstore.finding'
		nothing 'steps that disagree' "$store" 'SELECT count(*) FROM pointstore.reconcile_movements()'
		at "$store" -c "SELECT '$store: ' || coalesce(string_agg(format('%s %s %s', n, protocol, phase), ', '), 'none') FROM (SELECT count(*) AS n, protocol, phase FROM pointstore.movement GROUP BY 2, 3 ORDER BY 2, 3) m"
	done
	echo "$kills kills, $faults faults"
	((faults == 0))
}

main
