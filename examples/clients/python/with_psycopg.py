"""pointstore from psycopg 3. PGHOST, PGDATABASE, PGUSER say where, as for psql."""
from contextlib import contextmanager

from psycopg import IsolationLevel
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

# autocommit: what is to be a transaction says so. prepare_threshold: for PgBouncer before 1.21; leave it out where there is none
pool = ConnectionPool(min_size=0, max_size=10, kwargs={'autocommit': True, 'row_factory': dict_row, 'prepare_threshold': None})


def submit(account, event_type, amount, request_id=None):
    """Alone: commits by itself, together with those of other callers. No transaction is open."""
    with pool.connection() as db:
        return db.execute('SELECT * FROM pointstore.submit_event(%s, %s, %s, request_id => %s)',
                          (account, event_type, amount, request_id)).fetchone()


def append(tx, account, event_type, amount, payload={}, version=None, request_id=None):
    """In a transaction of yours: tx is what transaction() gives."""
    return tx.execute('SELECT * FROM pointstore.append_event(%s, %s, %s, %s, expected_version => %s, request_id => %s)',
                      (account, event_type, amount, Jsonb(payload), version, request_id)).fetchone()


def try_append(tx, account, event_type, amount, payload={}, version=None, request_id=None):
    """The same, where a refusal is an outcome: the transaction goes on."""
    return tx.execute('SELECT * FROM pointstore.try_append_event(%s, %s, %s, %s, expected_version => %s, request_id => %s)',
                      (account, event_type, amount, Jsonb(payload), version, request_id)).fetchone()


def append_all(tx, events, request_id=None):
    """All or nothing; a list of dicts."""
    return tx.execute('SELECT * FROM pointstore.append_events(%s, %s, balanced => true)', (Jsonb(events), request_id)).fetchall()


def read(account):
    with pool.connection() as db:
        return db.execute('SELECT * FROM pointstore.get_balance(%s)', (account,)).fetchone()


@contextmanager
def transaction(isolation='READ COMMITTED'):
    """What is in the with block and COMMIT, or nothing of it."""
    with pool.connection() as db:
        db.isolation_level = IsolationLevel[isolation.replace(' ', '_')]
        with db.transaction():
            yield db
            # a failed transaction's COMMIT is a ROLLBACK, and no error: so see
            if db.info.transaction_status == TransactionStatus.INERROR:
                raise RuntimeError('a refusal was caught, but the transaction goes with it: take the try_ form')


def query(tx, sql, values=()):
    return tx.execute(sql, values)


def end():
    pool.close()
