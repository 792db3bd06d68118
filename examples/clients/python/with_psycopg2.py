"""pointstore from psycopg2. PGHOST, PGDATABASE, PGUSER say where, as for psql."""
from contextlib import contextmanager
from threading import BoundedSemaphore

from psycopg2 import extensions
from psycopg2.extras import Json, RealDictCursor
from psycopg2.pool import ThreadedConnectionPool

# it keeps as many as the first number says; and getconn() of an empty pool is an error, not a wait: so count
pool, free = ThreadedConnectionPool(4, 10, '', cursor_factory=RealDictCursor), BoundedSemaphore(10)


@contextmanager
def connection(autocommit, isolation=None):
    with free:
        db = pool.getconn()
        try:
            db.set_session(isolation_level=isolation or 'DEFAULT', autocommit=autocommit)
            yield db
        finally:
            pool.putconn(db)


@contextmanager
def transaction(isolation='READ COMMITTED'):
    """What is in the with block and COMMIT, or nothing of it."""
    with connection(False, isolation) as db, db:            # db ends the transaction, and stays open
        with db.cursor() as tx:
            yield tx
            # a failed transaction's COMMIT is a ROLLBACK, and no error: so see
            if db.info.transaction_status == extensions.TRANSACTION_STATUS_INERROR:
                raise RuntimeError('a refusal was caught, but the transaction goes with it: take the try_ form')


def query(tx, sql, values=()):
    tx.execute(sql, values)
    return tx


def submit(account, event_type, amount, request_id=None):
    """Alone: commits by itself, together with those of other callers. No transaction is open."""
    with connection(True) as db, db.cursor() as cursor:
        return query(cursor, 'SELECT * FROM pointstore.submit_event(%s, %s, %s, request_id => %s)',
                     (account, event_type, amount, request_id)).fetchone()


def append(tx, account, event_type, amount, payload={}, version=None, request_id=None):
    """In a transaction of yours: tx is what transaction() gives."""
    return query(tx, 'SELECT * FROM pointstore.append_event(%s, %s, %s, %s, expected_version => %s, request_id => %s)',
                 (account, event_type, amount, Json(payload), version, request_id)).fetchone()


def try_append(tx, account, event_type, amount, payload={}, version=None, request_id=None):
    """The same, where a refusal is an outcome: the transaction goes on."""
    return query(tx, 'SELECT * FROM pointstore.try_append_event(%s, %s, %s, %s, expected_version => %s, request_id => %s)',
                 (account, event_type, amount, Json(payload), version, request_id)).fetchone()


def append_all(tx, events, request_id=None):
    """All or nothing; a list of dicts."""
    return query(tx, 'SELECT * FROM pointstore.append_events(%s, %s, balanced => true)', (Json(events), request_id)).fetchall()


def read(account):
    with connection(True) as db, db.cursor() as cursor:
        return query(cursor, 'SELECT * FROM pointstore.get_balance(%s)', (account,)).fetchone()


def end():
    pool.closeall()
