"""Three stores, each a cluster of its own, that know each other; for the show and for the test.

Their folders and sockets are in one folder. A cluster is killed as the machine's end would kill it: pg_ctl stop -m immediate.
"""
import os
import subprocess

import psycopg

HERE = os.path.dirname(os.path.abspath(__file__))
NAMES = ('busan', 'jeju', 'seoul')
CONFIGURATION = """
listen_addresses = ''
unix_socket_directories = '{folder}'
port = {port}
shared_preload_libraries = 'pointstore'
pointstore.databases = 'wallets'
max_prepared_transactions = 50
max_worker_processes = 16
max_wal_size = '256MB'
"""
# what is held, what is reserved, and what movements have brought or taken, by unit: a statement, so one snapshot
FIGURES = """SELECT k.unit, sum(b.balance)::bigint, sum(b.held + b.incoming)::bigint, coalesce(sum(p.applied), 0)::bigint
               FROM pointstore.balance b JOIN pointstore.account_kind k USING (kind)
               LEFT JOIN (SELECT aggregate_id, sum(amount) AS applied FROM pointstore.participant_step
                           WHERE status IN ('done', 'confirmed') GROUP BY 1) p USING (aggregate_id)
              GROUP BY 1"""


class Store:
    def __init__(self, name, folder, port):
        self.name, self.folder, self.port = name, folder, port
        self.data, self.log = f'{folder}/{name}', f'{folder}/{name}.log'
        self.connection = {'host': folder, 'port': port, 'dbname': 'wallets'}

    def create(self):
        run('initdb', '-N', '-D', self.data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--no-locale')
        with open(f'{self.data}/postgresql.conf', 'a') as file:
            file.write(CONFIGURATION.format(folder=self.folder, port=self.port))
        self.start()
        run('createdb', '-h', self.folder, '-p', str(self.port), '-U', 'postgres', 'wallets')
        self.psql('store.sql', neighbours='{' + ','.join(n for n in NAMES if n != self.name) + '}')

    def psql(self, file, **variables):
        settings = [each for name, value in variables.items() for each in ('-v', f'{name}={value}')]
        run('psql', '-Xq', '-h', self.folder, '-p', str(self.port), '-U', 'postgres', *settings, '-f', f'{HERE}/{file}', 'wallets')

    def start(self):
        run('pg_ctl', '-D', self.data, '-l', self.log, '-w', 'start')

    def kill(self):
        run('pg_ctl', '-D', self.data, '-m', 'immediate', '-w', 'stop')

    def stop(self):
        subprocess.run(['pg_ctl', '-D', self.data, '-m', 'fast', '-w', 'stop'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def connect(self):
        return psycopg.connect(**self.connection, user='postgres', autocommit=True)

    def ask(self, sql, *arguments):
        with self.connect() as db:
            return db.execute(sql, arguments).fetchall()


class Town:
    def __init__(self, folder):
        self.stores = {name: Store(name, folder, 5432 + n) for n, name in enumerate(NAMES)}
        self.connections = {name: store.connection for name, store in self.stores.items()}

    def __iter__(self):
        return iter(self.stores.values())

    def create(self):
        for store in self:
            store.create()
        for store in self:
            for other in self:
                if other is not store:
                    store.psql('neighbour.sql', here=store.name, name=other.name, **other.connection)

    def stop(self):
        for store in self:
            store.stop()

    def figures(self):
        """By store and unit: what is held, reserved, and was moved; None for a store that does not answer."""
        figures = {}
        for store in self:
            try:
                figures[store.name] = {unit: figure for unit, *figure in store.ask(FIGURES)}
            except psycopg.OperationalError:
                figures[store.name] = None
        return figures

    def under_way(self):
        return sum(store.ask('SELECT count(*) FROM pointstore.movement WHERE finished_at IS NULL')[0][0] for store in self)


def run(program, *arguments):
    done = subprocess.run([program, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          start_new_session=True)    # ^C is for the show
    if done.returncode:
        raise RuntimeError(f'{program}: {done.stdout}')
