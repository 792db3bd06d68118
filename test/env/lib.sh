# test/env/lib.sh
# What the scripts of test/ share: the packages they need, the user that servers
# run as, and clusters of their own. To be sourced by bash with set -euo pipefail.
#
# PG_CONFIG names the installation that everything is built for and runs on.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export LC_ALL=C.UTF-8
# what the caller's shell says of other servers (PGPORT, PGOPTIONS ...) is not for ours
unset $(compgen -e PG | grep -v '^PG_')

fail()
{
	echo "$(basename "$0"): $*" >&2
	exit 1
}

# require_packages [SUITE...]: installs what is missing to build, and to run these
# suites of tests; on Debian as root, otherwise says at once what is missing.
require_packages()
{
	local version missing=()
	version=$("${PG_CONFIG:-pg_config}" --version 2>/dev/null | sed -n 's/^PostgreSQL \([0-9]*\).*/\1/p') || true
	version=${version:-15}
	if [[ ${PG_CONFIG:-pg_config} != pg_config && ! -x $(command -v "$PG_CONFIG") ]]; then
		fail "there is no $PG_CONFIG"
	fi
	command -v gcc >/dev/null && [[ -e /usr/include/stdio.h ]] || missing+=(gcc libc6-dev)
	if have_postgresql; then
		require_drivers "$@"
	else
		missing+=("postgresql-$version" "postgresql-server-dev-$version")
	fi
	if [[ " $* " = *' pgtap '* ]]; then
		[[ -e $(sharedir)/extension/pgtap.control ]] || missing+=("postgresql-$version-pgtap")
		command -v pg_prove >/dev/null || missing+=(libtap-parser-sourcehandler-pgtap-perl)
	fi
	if [[ " $* " = *' tap '* ]]; then
		perl -MIPC::Run -MTest::More -e 1 2>/dev/null || missing+=(perl libipc-run-perl)
		# for the examples in Python; elsewhere they are only read
		((EUID != 0)) || ! command -v apt-get >/dev/null || /usr/bin/python3 -c 'import psycopg' 2>/dev/null || missing+=(python3-psycopg)
		# for Debian's PostgreSQL, there or about to be; its test is skipped elsewhere
		if [[ $(sharedir) = /usr/share/postgresql/* ]] || ! have_postgresql; then
			[[ -e $(sharedir)/extension/pg_cron.control ]] || missing+=("postgresql-$version-cron")
		fi
	fi
	if [[ " $* " = *' examples '* ]]; then
		command -v rabbitmq-server >/dev/null || missing+=(rabbitmq-server)
		command -v redis-server >/dev/null || missing+=(redis-server)
		[[ -e /usr/lib/postgresql/$version/lib/wal2json.so ]] || missing+=("postgresql-$version-wal2json")
		/usr/bin/python3 -c 'import psycopg' 2>/dev/null || missing+=(python3-psycopg)
		/usr/bin/python3 -c 'import pika' 2>/dev/null || missing+=(python3-pika)
		/usr/bin/python3 -c 'import redis' 2>/dev/null || missing+=(python3-redis)
		/usr/bin/python3 -c 'import psycopg_pool' 2>/dev/null || missing+=(python3-psycopg-pool)
		/usr/bin/python3 -c 'import psycopg2' 2>/dev/null || missing+=(python3-psycopg2)
		/usr/bin/python3 -c 'import sqlalchemy' 2>/dev/null || missing+=(python3-sqlalchemy)
		[[ -x /usr/sbin/pgbouncer ]] || missing+=(pgbouncer)
		command -v javac >/dev/null || missing+=(default-jdk-headless)
		[[ -e /usr/share/java/postgresql.jar ]] || missing+=(libpostgresql-jdbc-java)
		[[ -e /usr/share/java/eclipselink.jar ]] || missing+=(libeclipselink-java)
		[[ -e /usr/share/java/hibernate-core.jar ]] || missing+=(libhibernate3-java)
		[[ -e /usr/share/java/javassist.jar ]] || missing+=(libjavassist-java)
		[[ -e /usr/share/java/spring3-jdbc.jar ]] || missing+=(libspring-jdbc-java)
		# the shop in a browser, with letters for Korean
		command -v chromium >/dev/null || missing+=(chromium)
		[[ -n $(fc-list :lang=ko 2>/dev/null) ]] || missing+=(fontconfig fonts-nanum)
	fi
	if [[ " $* " = *' wallets '* ]]; then
		/usr/bin/python3 -c 'import psycopg' 2>/dev/null || missing+=(python3-psycopg)
	fi
	if [[ " $* " = *' examples '* || " $* " = *' web '* ]]; then
		command -v npm >/dev/null || missing+=(nodejs npm)
	fi
	((${#missing[@]} > 0)) || return 0
	if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
		fail "missing, and not to be installed without root and apt-get: ${missing[*]}"
	fi
	# Debian would create and start a cluster of its own
	if [[ ! -e /etc/postgresql-common/createcluster.conf ]]; then
		mkdir -p /etc/postgresql-common
		echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
	fi
	echo "installing ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	local log status=0
	log=$(mktemp)
	# nor are brokers to be started: the tests start their own
	if [[ ! -e /usr/sbin/policy-rc.d ]]; then
		trap 'rm -f /usr/sbin/policy-rc.d' EXIT
		printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
		chmod +x /usr/sbin/policy-rc.d
	fi
	{ apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 &
	show_progress $! "$log"
	wait $! || status=$?
	[[ $(trap -p EXIT) != *policy-rc.d* ]] || { rm -f /usr/sbin/policy-rc.d; trap - EXIT; }
	((status == 0)) || { tail -n 20 "$log" >&2; fail "apt-get could not install ${missing[*]}"; }
	rm -f "$log"
	have_postgresql || fail "PostgreSQL's server or headers are still missing for ${PG_CONFIG:-pg_config}"
	require_drivers "$@"
}

# show_progress PID LOG: one line that says what a process has last logged, until it ends;
# where nobody sits at a terminal, a line every ten seconds
show_progress()
{
	local seconds=0
	while kill -0 "$1" 2>/dev/null; do
		sleep 1
		seconds=$((seconds + 1))
		if [[ -t 1 ]]; then
			printf '\r\033[K  %3d s  %.70s' $seconds "$(tail -n 1 "$2")"
		elif ((seconds % 10 == 0)); then
			printf '  %3d s  %.70s\n' $seconds "$(tail -n 1 "$2")"
		fi
	done
	[[ ! -t 1 ]] || printf '\r\033[K'
}

# require_drivers [SUITE...]: what no package adds to an installation that lacks it
require_drivers()
{
	local suite file
	for suite; do
		case $suite in
			regress) file=$(pgxs_test)/regress/pg_regress ;;
			isolation) file=$(pgxs_test)/isolation/pg_isolation_regress ;;
			tap) file=$(pgxs_test)/perl/PostgreSQL/Test/Cluster.pm ;;
			# Debian's package is for Debian's PostgreSQL
			pgtap) [[ $(sharedir) = /usr/share/postgresql/* ]] || file=$(sharedir)/extension/pgtap.control ;;
		esac
		[[ -z ${file:-} || -e $file ]] || fail "$suite: ${PG_CONFIG:-pg_config}'s PostgreSQL has no $file"
		file=
	done
}

# install_npm FOLDER: puts what FOLDER's package-lock.json names into FOLDER/node_modules, as the
# server's user; npm's cache and log stay in $scratch. Runs no script of a package's.
install_npm()
{
	as_server_user env -C "$1" HOME="$scratch" npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier \
		>"$scratch/npm.log" 2>&1 </dev/null || { tail -n 20 "$scratch/npm.log" >&2; fail "npm could not install what $1 needs"; }
}

pgxs_test()
{
	realpath -m "$("${PG_CONFIG:-pg_config}" --pgxs)/../../test"
}

have_postgresql()
{
	local config=${PG_CONFIG:-pg_config}
	command -v "$config" >/dev/null && [[ -e $("$config" --pgxs 2>/dev/null) ]] &&
		[[ -e $("$config" --includedir-server)/postgres.h && -x $("$config" --bindir)/initdb ]]
}

sharedir()
{
	"${PG_CONFIG:-pg_config}" --sharedir 2>/dev/null || echo /nonexistent
}

# Builds and installs the library; as who may not install, checks that it is.
build_and_install()
{
	local config=${PG_CONFIG:-pg_config}
	make -s -C "$root" PG_CONFIG="$config" all
	if may_install; then
		make -s -C "$root" PG_CONFIG="$config" install >/dev/null
	else
		is_installed || fail "this build is not what is in $("$config" --pkglibdir), and cannot be installed: run make install as root first"
	fi
}

may_install()
{
	[[ -w $("${PG_CONFIG:-pg_config}" --pkglibdir) && -w $(sharedir)/extension ]]
}

is_installed()
{
	local file
	cmp -s "$root/pointstore.so" "$("${PG_CONFIG:-pg_config}" --pkglibdir)/pointstore.so" || return
	for file in "$root"/pointstore.control "$root"/sql/pointstore--*.sql; do
		cmp -s "$file" "$(sharedir)/extension/$(basename "$file")" || return
	done
}

# Servers refuse to run as root: then their programs run as postgres.
server_user()
{
	if ((EUID == 0)); then echo postgres; else id -un; fi
}

as_server_user()
{
	if ((EUID == 0)); then
		(cd / && runuser -u postgres -- "$@")
	else
		"$@"
	fi
}

# A folder that the server user owns; gone when the script ends, unless it keeps it.
make_scratch()
{
	# a TMPDIR of root's own is of no use to postgres
	as_server_user test -w "${TMPDIR:-/tmp}" || export TMPDIR=/tmp
	scratch=$(as_server_user mktemp -d "${TMPDIR:-/tmp}/pointstore.XXXXXX")
}

# start_cluster [LINE...]: a cluster in $scratch, on a unix socket there, with the
# library preloaded and these lines in its configuration. Sets PGHOST, PGUSER.
start_cluster()
{
	local bin
	bin=$("${PG_CONFIG:-pg_config}" --bindir)
	export PATH=$bin:$PATH PGHOST=$scratch PGPORT=5432 PGUSER PGDATABASE=postgres
	PGUSER=$(server_user)
	as_server_user "$bin/initdb" -D "$scratch/data" -U "$PGUSER" -A trust -E UTF8 --no-locale >/dev/null
	printf '%s\n' "listen_addresses = ''" "unix_socket_directories = '$scratch'" \
		"shared_preload_libraries = 'pointstore'" "$@" |
		as_server_user tee -a "$scratch/data/postgresql.conf" >/dev/null
	as_server_user "$bin/pg_ctl" -D "$scratch/data" -l "$scratch/server.log" -w start >/dev/null ||
		{ cat "$scratch/server.log" >&2; fail 'the cluster does not start'; }
}

stop_cluster()
{
	as_server_user "$("${PG_CONFIG:-pg_config}" --bindir)/pg_ctl" -D "$scratch/data" -m "${1:-fast}" stop >/dev/null 2>&1 || true
}
