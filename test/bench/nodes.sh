# test/bench/nodes.sh
# The nodes' part of the run: a store that Citus distributes over one worker, then two, then three, against a plain one in
# a cluster of its own with the same settings and libraries. With one worker all accounts are there: append_event, submit_event, transfer
# and get_balance on the owning node and through the coordinator, and the instructions of a call, where valgrind is installed. The processor's
# time of an append, while each worker is called for its own accounts and while all are called through the coordinator; with two, transfers between
# them; and appends on the accounts of a shard that is moved meanwhile. Nothing is measured where Citus is not installed.
# Neither store's background workers run, since those of a distributed one do not. To be sourced by run.

# TCP ports, one for each node from here on: Citus connects by them
first_node_port=${BENCH_NODE_PORT:-28201}
node_accounts=1024

measure_nodes()
{
	local citus
	citus=$("${PG_CONFIG:-pg_config}" --pkglibdir)/citus.so
	[[ -e $citus ]] || { echo "nodes:      not measured, Citus is not installed: there is no $citus"; return 0; }
	start_nodes
	! is_wanted owner || measure_owning_node
	! is_wanted instructions || ! command -v valgrind >/dev/null || measure_nodes_instructions
	! is_wanted cpu || measure_nodes_cpu one_worker w1
	add_worker w2
	! is_wanted across || measure_across_nodes
	! is_wanted moves || measure_moves block_writes
	! is_wanted moves || measure_moves force_logical
	! is_wanted cpu || measure_nodes_cpu two_workers w1 w2
	add_worker w3
	! is_wanted cpu || measure_nodes_cpu three_workers w1 w2 w3
	check_nodes
	stop_nodes
}

# is_wanted WHAT: of BENCH_NODES
is_wanted()
{
	[[ " ${BENCH_NODES:-owner instructions cpu across moves} " == *" $1 "* ]]
}

at_node()
{
	PGPORT=${node_port[$1]} run_sql "${@:2}"
}

# a plain store; a coordinator, which has no shards; and three workers, of which the first has them all
start_nodes()
{
	local node number=$first_node_port
	declare -gA node_port=()
	for node in plain coordinator w1 w2 w3; do
		node_port[$node]=$number
		number=$((number + 1))
		start_node "$node"
	done
	progress 'nodes: the stores'
	for node in plain coordinator; do
		[[ $node == plain ]] || at_node coordinator -c "SELECT citus_set_coordinator_host('localhost', ${node_port[coordinator]})" \
			-c "SELECT citus_add_node('localhost', ${node_port[w1]})" >/dev/null
		at_node "$node" -c 'SET client_min_messages = error' -c 'CREATE EXTENSION pointstore' -c 'SELECT pointstore.create_store()' \
			-c "INSERT INTO pointstore.event_store (aggregate_id, event_type, amount, request_id)
				SELECT i::text, 'Opened', 1000000, 'open-' || i FROM generate_series(1, $accounts) i" >/dev/null
	done
	at_node coordinator -c 'SET client_min_messages = error' -c 'SELECT pointstore.distribute_store()' >/dev/null
	at_node plain -c 'VACUUM (FULL, ANALYZE)'
	at_node w1 -c 'VACUUM ANALYZE'
}

start_node()
{
	local bin
	bin=$("${PG_CONFIG:-pg_config}" --bindir)
	as_server_user "$bin/initdb" -D "$scratch/$1" -U "$PGUSER" -A trust -E UTF8 --no-locale >/dev/null
	as_server_user cp "$scratch/data/postgresql.conf" "$scratch/$1"
	printf '%s\n' "port = ${node_port[$1]}" "listen_addresses = 'localhost'" "shared_preload_libraries = 'citus,pointstore'" 'shared_buffers = 256MB' \
		'wal_level = logical' 'max_prepared_transactions = 200' "citus.recover_2pc_interval = '5s'" \
		'pointstore.sequencer = off' 'pointstore.projection_workers = 0' 'pointstore.reconcile_interval = 0' 'pointstore.full_reconcile_interval = 0' |
		as_server_user tee -a "$scratch/$1/postgresql.conf" >/dev/null
	as_server_user "$bin/pg_ctl" -D "$scratch/$1" -l "$scratch/$1.log" -w start >/dev/null ||
		{ cat "$scratch/$1.log" >&2; fail "the cluster of $1 does not start"; }
	PGPORT=${node_port[$1]} PGDATABASE=postgres run_sql -c 'CREATE DATABASE bench'
	[[ $1 == plain ]] || at_node "$1" -c 'CREATE EXTENSION citus'
}

# also when the run ends, by who did not start them
stop_nodes()
{
	local node
	for node in plain coordinator w1 w2 w3; do
		[[ ! -e ${scratch:-}/$node/postmaster.pid ]] ||
			as_server_user "$("${PG_CONFIG:-pg_config}" --bindir)/pg_ctl" -D "$scratch/$node" -m immediate stop >/dev/null 2>&1 || true
	done
}

add_worker()
{
	progress "nodes: $1 is added"
	at_node coordinator -c "SELECT citus_add_node('localhost', ${node_port[$1]})" \
		-c "SELECT rebalance_table_shards('pointstore.event_store', shard_transfer_mode => 'block_writes')" >/dev/null 2>&1 || fail "$1 cannot be added"
	at_node "$1" -c 'VACUUM ANALYZE'
}

# compare_nodes WORKLOAD SCRIPT CLIENTS CONTENDER...: the contenders are plain, owner, which is w1, and coordinator
compare_nodes()
{
	local workload=$1 script=$2 clients=$3 round contender tps median p99
	shift 3
	progress "$workload"
	for ((round = 1; round <= rounds; round++)); do
		for contender in $(in_turn "$round" "$@"); do
			at_node plain -c CHECKPOINT
			at_node w1 -c CHECKPOINT
			read -r _ tps median _ p99 < <(PGPORT=${node_port[${contender/owner/w1}]} pgbench_run "$script" "$clients" "$accounts" '' \
				-T "$seconds" -D to_one=false -l --log-prefix="$scratch/latency")
			record "$workload" "$contender" tps "$round" "$tps"
			record "$workload" "$contender" 'ms, median' "$round" "$median"
			record "$workload" "$contender" 'ms, 99 %' "$round" "$p99"
		done
		progress "$workload, round $round, load $(cut -d' ' -f1-3 /proc/loadavg)"
	done
}

measure_owning_node()
{
	compare_nodes 'nodes, append_event, 1 client' append_event 1 plain owner coordinator
	compare_nodes 'nodes, append_event, 16 clients' append_event 16 plain owner coordinator
	compare_nodes 'nodes, submit_event, 16 clients' submit_event 16 plain owner
	compare_nodes 'nodes, transfer in a node, 1 client' transfer 1 plain owner
	compare_nodes 'nodes, transfer in a node, 16 clients' transfer 16 plain owner
	compare_nodes 'nodes, get_balance, 1 client' get_balance 1 plain owner coordinator
}

# Of the backend that was called; a session's first access to each shard is part of neither run's difference
measure_nodes_instructions()
{
	local round contender script node many few
	for node in plain w1; do
		start_under_callgrind "$node"
	done
	for ((round = 1; round <= rounds && round <= 1; round++)); do
		progress "nodes, instructions, round $round"
		for script in append_event transfer; do
			for contender in $(in_turn "$round" plain owner); do
				many=$(PGPORT=${node_port[${contender/owner/w1}]} count_instructions "$script" 3000)
				few=$(PGPORT=${node_port[${contender/owner/w1}]} count_instructions "$script" 1000)
				record "nodes, instructions, $script" "$contender" 'instructions/call' "$round" $(((many - few) / 2000))
			done
		done
	done
	for node in plain w1; do
		as_server_user "$(server_bin)/pg_ctl" -D "$scratch/$node" -m fast stop >/dev/null
		as_server_user "$(server_bin)/pg_ctl" -D "$scratch/$node" -l "$scratch/$node.log" -w start >/dev/null
	done
}

# accounts_of NODE: an expression of pgbench for one of so many accounts there, by a random :i
accounts_of()
{
	at_node coordinator -c "SELECT i FROM generate_series(1, $accounts) i
		JOIN pointstore.shard_map m ON hashtext(i::text COLLATE \"C\") BETWEEN m.min_hash AND m.max_hash
		WHERE m.port = ${node_port[$1]} ORDER BY i LIMIT $node_accounts" | awk '
		function tree(low, high, middle) {
			if (low == high) return account[low]
			middle = int((low + high) / 2)
			return "case when :i <= " middle " then " tree(low, middle) " else " tree(middle + 1, high) " end"
		}
		{ account[NR] = $1 }
		END { print "\\set i random(1, " NR ")"; print "\\set chosen " tree(1, NR) }'
}

# on_node SCRIPT NODE: the script for accounts there
on_node()
{
	mkdir -p "$scratch/scripts"
	{ accounts_of "$2"; sed 's/random(1, :accounts)/:chosen/' "$bench/$1.sql"; } >"$scratch/scripts/$1-$2.sql"
}

# from an account of w1 to one of w2
measure_across_nodes()
{
	mkdir -p "$scratch/scripts"
	{
		accounts_of w1
		echo '\set payer :chosen'
		accounts_of w2
		echo '\set payee :chosen'
		grep -v '^.set pay' "$bench/transfer.sql"
	} >"$scratch/scripts/across.sql"
	bench=$scratch/scripts compare_nodes 'nodes, transfer across, 1 client' across 1 plain owner coordinator
	bench=$scratch/scripts compare_nodes 'nodes, transfer across, 16 clients' across 16 plain owner coordinator
}

# node_cpu NODE...: of all of them
node_cpu()
{
	local node sum=0.0
	for node; do
		sum="$sum + $(server_cpu "$scratch/$node")"
	done
	echo "($sum)"
}

# measure_nodes_cpu CONTENDER WORKER...: the processor's time of an append at the workers, in that of the plain store in the same round: as each is called
# for accounts of its own, and as all are called through the coordinator, where its own time is told too. The mean
# over the workers, with what a session does first on each shard, and with what runs on a node that is idle: in short runs, or beside another load, these are
# much of it, and one worker has the most shards. A ratio far from one, to either side, says that the runs were too short, not that an append costs less.
measure_nodes_cpu()
{
	local contender=$1 round node plain_cpu cpu own done
	shift
	progress "nodes, CPU of an append, $contender"
	for node; do
		on_node append_event "$node"
	done
	for ((round = 1; round <= rounds; round++)); do
		cpu=$(node_cpu plain)
		done=$(appends_at w1 plain 6)
		plain_cpu="(($(node_cpu plain) - $cpu) / $done)"
		record 'nodes, CPU of an append, plain' "$contender" 'CPU s/1,000 calls' "$round" "$plain_cpu * 1000"

		cpu=$(node_cpu "$@")
		done=$(appends_at_each "$@")
		cpu="(($(node_cpu "$@") - $cpu) / $done)"
		record 'nodes, CPU of an append, on the owning node' "$contender" 'CPU s/1,000 calls' "$round" "$cpu * 1000"
		record 'nodes, CPU of an append, on the owning node' "$contender" 'of plain' "$round" "$cpu / $plain_cpu"

		cpu=$(node_cpu "$@") own=$(node_cpu coordinator)
		read -r done _ < <(PGPORT=${node_port[coordinator]} pgbench_run append_event 6 "$accounts" '' -T "$seconds")
		record 'nodes, CPU of an append, workers called by the coordinator' "$contender" 'of plain' "$round" "($(node_cpu "$@") - $cpu) / $done / $plain_cpu"
		record 'nodes, CPU of an append, coordinator' "$contender" 'of plain' "$round" "($(node_cpu coordinator) - $own) / $done / $plain_cpu"
		progress "round $round, load $(cut -d' ' -f1-3 /proc/loadavg)"
	done
}

# appends_at NODE WHERE CLIENTS: on accounts of a node; how many
appends_at()
{
	pgbench -n -M prepared -p "${node_port[$2]}" -c "$3" -j 1 -T "$seconds" -f "$scratch/scripts/append_event-$1.sql" >"$scratch/pgbench-$1" 2>&1 ||
		{ cat "$scratch/pgbench-$1" >&2; fail "pgbench, $2"; }
	awk '/actually processed/ { split($NF, n, "/"); print n[1] }' "$scratch/pgbench-$1"
}

# appends_at_each NODE...: at once, by six clients in all
appends_at_each()
{
	local node processes=() process clients=$((6 / $#))
	for node; do
		appends_at "$node" "$node" "$clients" >"$scratch/done-$node" &
		processes+=($!)
	done
	for process in "${processes[@]}"; do
		wait "$process" || fail 'appends at each node'
	done
	for node; do
		cat "$scratch/done-$node"
	done | awk '{ sum += $1 } END { print sum }'
}

# measure_moves MODE: a shard goes to and fro between w1 and w2 while 8 sessions append to its accounts, half through the coordinator and half at w1
# and w2, and repeat what was refused: the longest wait of one append, until it succeeded, and errors of a session in one move. What was acknowledged
# is stored once.
measure_moves()
{
	local mode=$1 workload="nodes, a shard is moved, $1" round shard from to start session
	progress "$workload"
	shard=$(at_node coordinator -c "SELECT shard FROM pointstore.shard_map WHERE port = ${node_port[w1]} ORDER BY shard LIMIT 1")
	at_node coordinator -c "SELECT i FROM generate_series(1, $accounts) i
		JOIN pointstore.shard_map m ON hashtext(i::text COLLATE \"C\") BETWEEN m.min_hash AND m.max_hash WHERE m.shard = $shard" >"$scratch/moved"
	gcc -O2 -I"$("${PG_CONFIG:-pg_config}" --includedir)" -o "$scratch/repeat" "$bench/repeat.c" -L"$("${PG_CONFIG:-pg_config}" --libdir)" -lpq || fail 'repeat.c cannot be compiled'
	for ((round = 1; round <= 2 * rounds; round++)); do
		((round % 2 == 1)) && { from=w1; to=w2; } || { from=w2; to=w1; }
		move_once
	done
}

# one move of measure_moves
move_once()
{
	local processes=() process port
	for session in 1 2 3 4 5 6 7 8; do
		port=${node_port[$([[ $session -le 4 ]] && echo coordinator || echo "w$((session % 2 + 1))")]}
		"$scratch/repeat" "port=$port" "$scratch/moved" "$mode-$round-$session" "$scratch/stop" >"$scratch/repeat-$session" &
		processes+=($!)
	done
	sleep 1
	start=$(date +%s.%N)
	at_node coordinator -c "SET statement_timeout = '60s'" -c "SELECT citus_move_shard_placement($shard, 'localhost', ${node_port[$from]}, 'localhost', ${node_port[$to]}, '$mode')" >/dev/null 2>"$scratch/move.log" ||
		{ cat "$scratch/move.log" >&2; fail "$workload"; }
	record "$workload" move s "$round" "$(date +%s.%N) - $start"
	sleep 1
	touch "$scratch/stop"
	for process in "${processes[@]}"; do
		wait "$process" || fail "$workload: a session has ended"
	done
	rm "$scratch/stop"
	cat "$scratch"/repeat-[1-8] >&2
	record "$workload" append 'ms, longest' "$round" "$(sort -k2nr "$scratch"/repeat-[1-8] | awk '{ print $2; exit }')"
	record "$workload" session 'errors, most' "$round" "$(sort -k3nr "$scratch"/repeat-[1-8] | awk '{ print $3; exit }')"
	check_moved
}

# the events of one move are as many as were acknowledged
check_moved()
{
	local acknowledged found
	acknowledged=$(awk '{ sum += $1 } END { print sum }' "$scratch"/repeat-[1-8])
	found=$(at_node coordinator -c "SELECT count(*) FROM pointstore.event_store WHERE request_id LIKE '$mode-$round-%'")
	((acknowledged == found)) || fail "$workload: $acknowledged events acknowledged, $found stored"
}

# In both stores each balance is the sum of its events, and no prepared transaction is left
check_nodes()
{
	local node faults
	for node in plain coordinator; do
		faults=$(at_node "$node" -c "SELECT count(*) FROM pointstore.balance b
			JOIN (SELECT aggregate_id, count(*) AS n, max(version) AS last, sum(amount) AS total FROM pointstore.event_store GROUP BY aggregate_id) e USING (aggregate_id)
			WHERE b.version <> e.n OR e.last <> e.n OR b.balance <> e.total")
		[[ $faults == 0 ]] || fail "nodes, $node: $faults balances are not what their events say"
	done
	for node in coordinator w1 w2 w3; do
		[[ $(at_node "$node" -c 'SELECT count(*) FROM pg_prepared_xacts') == 0 ]] || fail "nodes, $node: a prepared transaction is left"
	done
}
