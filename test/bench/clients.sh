# test/bench/clients.sh
# The clients' part of the run: one call per transaction, by 1, 8 and 64 clients, over
# all accounts alike, over a few that are wanted most (Zipf) and over one hot account;
# and, told apart, by 64 clients on a disk that takes a millisecond for each flush
# (slow_disk.c). To be sourced by run.
#
# Of each run: transactions a second, percentiles of the latency, what the server's
# processes took of the CPU, and, of one hot account, WAL and updates of its row.

callers=(append_event submit_event optimistic update lock floor)

measure_clients()
{
	local clients
	for clients in $client_numbers; do
		measure_callers "uniform, $clients" "$clients" "$accounts"
		measure_callers "Zipf, $clients" "$clients" "$accounts" zipfian
		measure_callers "one hot account, $clients" "$clients" 1
	done
	use_slow_disk
	measure_callers 'uniform, 64, 1 ms disk' 64 "$accounts"
	measure_callers 'one hot account, 64, 1 ms disk' 64 1
	use_own_disk
}

# measure_callers WORKLOAD CLIENTS ACCOUNTS [zipfian]
measure_callers()
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
	read -r cpu updates wal < <(server_counters "$1")
	read -r acknowledged tps median p95 p99 < <(pgbench_run "$2" "$4" "$5" "${6:-}" -T "$seconds" -l --sampling-rate=0.2 --log-prefix="$scratch/latency")
	record_counters "$@" "$acknowledged" "$cpu" "$updates" "$wal"
	check_stored "$1" "$2" "$before" "$acknowledged"
	run_sql -c "INSERT INTO bench.result (workload, contender, unit, round, value) VALUES
		('$1', '$2', 'tps', $3, $tps), ('$1', '$2', 'ms, median', $3, $median),
		('$1', '$2', 'ms, 95 %', $3, $p95), ('$1', '$2', 'ms, 99 %', $3, $p99)"
}

# server_counters WORKLOAD: CPU seconds of the server since its start, updates of
# pointstore's balances, WAL. The combiner, which does not end, tells of its updates a little later.
server_counters()
{
	sleep "$([[ $1 == *'hot account, 64' ]] && echo 1.2 || echo 0.1)"
	local postmaster
	postmaster=$(head -n 1 "$scratch/data/postmaster.pid")
	echo "$(cat /proc/[0-9]*/stat 2>/dev/null | sed 's/^\([0-9]*\) (.*) /\1 /' | awk -v postmaster="$postmaster" -v ticks="$(getconf CLK_TCK)" '
		$1 == postmaster { sum += $12 + $13 + $14 + $15 }
		$3 == postmaster { sum += $12 + $13 }
		END { print sum / ticks }')" \
		"$(run_sql -F ' ' -c "SELECT n_tup_upd, pg_current_wal_insert_lsn() - '0/0' FROM pg_stat_user_tables WHERE relid = 'pointstore.balance'::regclass")"
}

# record_counters WORKLOAD CALLER ROUND CLIENTS ACCOUNTS [zipfian] ACKNOWLEDGED CPU UPDATES WAL
record_counters()
{
	local cpu updates wal n=$#
	read -r cpu updates wal < <(server_counters "$1")
	run_sql -v events="${*:n-3:1}" -v cpu="$cpu - ${*:n-2:1}" -v updates="$updates - ${*:n-1:1}" -v wal="$wal - ${*:n:1}" <<-END
		INSERT INTO bench.result (workload, contender, unit, round, value)
		SELECT '$1', '$2', unit, $3, value FROM (VALUES
		       ('CPU s/1,000 events', (:cpu) * 1000.0 / :events),
		       ('WAL bytes/event', (:wal)::float8 / :events),
		       ('updates of the row/event', (:updates)::float8 / :events)) v(unit, value)
		 WHERE unit LIKE 'CPU%' OR ('$1' LIKE '%hot account, 64' AND '$2' IN ('append_event', 'submit_event'));
	END
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
