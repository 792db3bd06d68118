# test/bench/clients.sh
# The clients' part of the run: one call per transaction, by 1, 8 and 64 clients, over
# all accounts alike, over a few that are wanted most (Zipf) and over one hot account;
# and, told apart, by 64 clients on a disk that takes a millisecond for each flush
# (slow_disk.c). To be sourced by run.
#
# Of each run: transactions a second, percentiles of the latency, the server's CPU, and,
# of one hot account, WAL and updates of its row.

callers=(append_event submit_event optimistic update lock floor)

measure_clients()
{
	local clients
	for clients in $client_numbers; do
		measure_all_callers "uniform, $clients" "$clients" "$accounts"
		measure_all_callers "Zipf, $clients" "$clients" "$accounts" zipfian
		measure_all_callers "one hot account, $clients" "$clients" 1
	done
	[[ " $client_numbers " == *' 64 '* ]] || return 0
	use_slow_disk
	measure_all_callers 'uniform, 64, 1 ms disk' 64 "$accounts"
	measure_all_callers 'one hot account, 64, 1 ms disk' 64 1
	use_own_disk
}

# measure_all_callers WORKLOAD CLIENTS ACCOUNTS [zipfian]
measure_all_callers()
{
	local round caller
	progress "clients: $1"
	for ((round = 1; round <= rounds; round++)); do
		for caller in $(in_turn "$round" "${callers[@]}"); do
			measure_caller "clients: $1" "$caller" "$round" "${@:2}"
		done
	done
	check_balances "$1"
}

# measure_caller WORKLOAD CALLER ROUND CLIENTS ACCOUNTS [zipfian]
measure_caller()
{
	local before cpu updates wal acknowledged tps median p95 p99
	before=$(stored "$2")
	read -r updates wal < <(balance_counters "$1")
	cpu=$(server_cpu)
	read -r acknowledged tps median p95 p99 < <(pgbench_run "$2" "$4" "$5" "${6:-}" -T "$seconds" -l --sampling-rate=0.2 --log-prefix="$scratch/latency")
	record_cpu "$1" "$2" "$3" "$cpu" "$acknowledged"
	record_counters "$1" "$2" "$3" "$acknowledged" "$updates" "$wal"
	check_stored "$1" "$2" "$before" "$acknowledged"
	run_sql -c "INSERT INTO bench.result (workload, contender, unit, round, value) VALUES
		('$1', '$2', 'tps', $3, $tps), ('$1', '$2', 'ms, median', $3, $median),
		('$1', '$2', 'ms, 95 %', $3, $p95), ('$1', '$2', 'ms, 99 %', $3, $p99)"
}

# balance_counters WORKLOAD: updates of pointstore's balances, WAL. The combiner, which
# does not end, tells of its updates a little later.
balance_counters()
{
	[[ $1 != *'hot account, 64' ]] || sleep 1.2
	run_sql -F ' ' -c "SELECT n_tup_upd, pg_current_wal_insert_lsn() - '0/0' FROM pg_stat_user_tables WHERE relid = 'pointstore.balance'::regclass"
}

# record_counters WORKLOAD CALLER ROUND ACKNOWLEDGED UPDATES WAL, these two before the run
record_counters()
{
	local updates wal
	[[ $1 == *'hot account, 64' && $2 == *_event ]] || return 0
	read -r updates wal < <(balance_counters "$1")
	run_sql -c "INSERT INTO bench.result (workload, contender, unit, round, value) VALUES
		('$1', '$2', 'WAL bytes/event', $3, ($wal - $6)::float8 / $4),
		('$1', '$2', 'updates of the row/event', $3, ($updates - $5)::float8 / $4)"
}

# The same cluster with a slow fdatasync, and back.
use_slow_disk()
{
	progress 'a disk that takes 1 ms for each flush'
	gcc -shared -fPIC -O2 -o "$scratch/slow_disk.so" "$bench/slow_disk.c" || fail 'slow_disk.c does not compile'
	chmod a+r "$scratch/slow_disk.so"
	restart_cluster env LD_PRELOAD="$scratch/slow_disk.so"
}

use_own_disk()
{
	restart_cluster env
}

restart_cluster()
{
	stop_cluster fast
	as_server_user "$@" pg_ctl -D "$scratch/data" -l "$scratch/server.log" -w start >/dev/null || fail 'the cluster does not start again'
}
