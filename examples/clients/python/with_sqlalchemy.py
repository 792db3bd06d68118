"""pointstore from SQLAlchemy 1.4: by the functions, and by classes that write both tables."""
import json
from contextlib import contextmanager

from sqlalchemy import BigInteger, Column, Text, create_engine, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session, declarative_base

# PGHOST, PGDATABASE and PGUSER are the driver's to read. pool_pre_ping: a connection that the server ended is not given out
engine = create_engine('postgresql+psycopg2://', pool_size=10, pool_pre_ping=True)
Base = declarative_base()


class Balance(Base):
    __tablename__ = 'balance'
    __table_args__ = {'schema': 'pointstore'}
    aggregate_id = Column(Text, primary_key=True)
    version = Column(BigInteger, nullable=False)
    balance = Column(BigInteger, nullable=False)
    __mapper_args__ = {'version_id_col': version}       # raises it by 1, and asks for the one that was read


class StoredEvent(Base):
    __tablename__ = 'event_store'
    __table_args__ = {'schema': 'pointstore'}
    aggregate_id = Column(Text, primary_key=True)
    version = Column(BigInteger, primary_key=True)
    event_type = Column(Text, nullable=False)
    amount = Column(BigInteger, nullable=False)
    payload = Column(JSONB, nullable=False)
    request_id = Column(Text)


# a cast by CAST: a colon begins a parameter
APPEND = text("""SELECT * FROM pointstore.append_event(:account, :type, :amount, CAST(:payload AS jsonb),
                                                       expected_version => :version, request_id => :request_id)""")
TRY_APPEND = text("""SELECT * FROM pointstore.try_append_event(:account, :type, :amount, CAST(:payload AS jsonb),
                                                               expected_version => :version, request_id => :request_id)""")
SUBMIT = text('SELECT * FROM pointstore.submit_event(:account, :type, :amount, request_id => :request_id)')


def submit(account, event_type, amount, request_id=None):
    """Alone: in autocommit, and outside of any session's transaction."""
    with engine.connect().execution_options(isolation_level='AUTOCOMMIT') as db:
        return db.execute(SUBMIT, {'account': account, 'type': event_type, 'amount': amount, 'request_id': request_id}).mappings().one()


def append(tx, account, event_type, amount, payload={}, version=None, request_id=None, statement=APPEND):
    """In a transaction of yours: tx is a Session."""
    return tx.execute(statement, {'account': account, 'type': event_type, 'amount': amount, 'payload': json.dumps(payload),
                                  'version': version, 'request_id': request_id}).mappings().one()


def try_append(tx, *arguments, **named):
    """The same, where a refusal is an outcome: the transaction goes on."""
    return append(tx, *arguments, **named, statement=TRY_APPEND)


def read(account):
    with Session(engine) as tx:
        return tx.execute(text('SELECT * FROM pointstore.get_balance(:account)'), {'account': account}).mappings().one_or_none()


@contextmanager
def transaction(isolation='READ COMMITTED'):
    """What is in the with block and COMMIT, or nothing of it."""
    with Session(engine.execution_options(isolation_level=isolation)) as tx, tx.begin():
        yield tx


def pay_by_mapper(account, amount, request_id, insert_first=False):
    """Left alone it flushes in an order of its own; flush() between the two makes it one's own."""
    with Session(engine) as tx, tx.begin():
        if tx.query(StoredEvent).filter_by(request_id=request_id).first():
            return 'replayed'
        row = tx.get(Balance, account)
        event = StoredEvent(aggregate_id=account, version=row.version + 1, event_type='PointSpent', amount=-amount, payload={},
                            request_id=request_id)
        if insert_first:
            tx.add(event)
            tx.flush()
        row.balance -= amount
        tx.flush()                  # StaleDataError where another was faster
        tx.add(event)
        return 'appended'


def query(tx, sql, values=()):
    """What is written with %s, as drivers have it."""
    return tx.connection().exec_driver_sql(sql, tuple(values))


def end():
    engine.dispose()
