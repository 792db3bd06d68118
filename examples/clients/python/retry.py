"""retry(work): repeats what may be repeated, and nothing else. work() is a whole transaction.

The answer says whether anything was written. Where none came (the connection is lost, the call was cancelled), nobody knows: then it
is repeated with a request_id alone, which work() passes on, so that what was applied is replayed. Pauses have full jitter: anything
between nothing and a bound that doubles.
"""
import random
import re
import time

NOTHING_WRITTEN = re.compile('40001|40P01|55P03|PS013|57P03|08001|53300') # serialization, deadlock, lock timeout, another node; no connection to begin with
UNKNOWN = re.compile('08...|53...|57P01|57P02|57P05|57014')         # connection, out of room, shut down, crashed, idle, cancelled or timed out
STALE = re.compile('PS001|PS010')                                   # decided on what is no longer so: for who reads again


def sqlstate(error):
    """Of psycopg's errors and psycopg2's, and where SQLAlchemy has wrapped them. None: the server has not answered."""
    error = getattr(error, 'orig', None) or error
    return getattr(error, 'sqlstate', None) or getattr(error, 'pgcode', None)


def may_repeat(error, request_id=None, rereads=False):
    error = getattr(error, 'orig', None) or error
    state, names = sqlstate(error), {each.__name__ for each in type(error).__mro__}
    if 'StaleDataError' in names:                                   # SQLAlchemy's, of a version that has moved on
        return rereads
    if state is None:                                               # an error of PEP 249 without an answer: the connection is lost
        return bool(names & {'OperationalError', 'InterfaceError'}) and request_id is not None
    if state == '23505':                                            # lost a race for a version; one of a table of yours stays
        return error.diag.schema_name == 'pointstore'
    return bool(NOTHING_WRITTEN.fullmatch(state) or (UNKNOWN.fullmatch(state) and request_id is not None)
                or (STALE.fullmatch(state) and rereads))


def retry(work, request_id=None, rereads=False, attempts=5, pause=0.05, longest=5, on_repeat=lambda error: None):
    """request_id: the one that work() uses. rereads: work() reads the version or the balance that it decides on."""
    for attempt in range(attempts):
        try:
            return work()
        except Exception as error:
            if attempt + 1 == attempts or not may_repeat(error, request_id, rereads):
                raise
            on_repeat(error)
        time.sleep(random.uniform(0, min(longest, pause * 2 ** attempt)))
