"""python3 situations.py NAME: what a shop does with the client in with_NAME.py, and what it is answered, in TAP.

PGHOST leads over a proxy that cuts connections where a request_id says so (see ../proxy.py), DIRECT_HOST to the server.
"""
import collections
import importlib
import os
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import psycopg
from psycopg_pool import PoolTimeout

from retry import may_repeat, retry, sqlstate

shop = importlib.import_module(f'with_{sys.argv[1]}')
name = sys.argv[1] + os.environ.get('BEHIND', '')
admin = psycopg.connect(host=os.environ['DIRECT_HOST'], user=os.environ['ADMIN'], autocommit=True)
failed = []


def ok(what, test):
    try:
        test()
        print(f'ok - {name}: {what}', flush=True)
    except Exception:
        failed.append(what)
        print(f'not ok - {name}: {what}\n{traceback.format_exc()}'.replace('\n', '\n# '), flush=True)


def equal(found, expected):
    if found != expected:
        raise AssertionError(f'{found!r} is not {expected!r}')


def refused(state, work):
    try:
        work()
    except Exception as error:
        if sqlstate(error) == state:
            return
        raise
    raise AssertionError(f'no {state}')


def account(what):
    return f'{name}-{what}'


def balance(what):
    # an idle connection may have been ended by the server: what only reads may always be repeated
    return retry(lambda: shop.read(account(what)), 'none is needed')['balance']


def count(sql, *values):
    return admin.execute(f'SELECT count(*) FROM {sql}', values).fetchone()[0]


def at_once(works, meanwhile=lambda: None):
    """What each returns or raises, all of them at once."""
    def caught(work):
        try:
            return work()
        except Exception as error:
            return error
    with ThreadPoolExecutor(len(works)) as threads:
        ends = [threads.submit(caught, work) for work in works]
        meanwhile()
        return [end.result() for end in ends]


def from_one_version(what, works):
    """The same, where somebody holds the account until each of them has read it and waits for it."""
    def until_all_wait():
        end = time.monotonic() + 30
        while count('pg_locks WHERE NOT granted') < len(works) and time.monotonic() < end:
            time.sleep(0.005)
        holder.rollback()
    with psycopg.connect(host=os.environ['DIRECT_HOST'], user=os.environ['ADMIN']) as holder:
        holder.execute('SELECT FROM pointstore.balance WHERE aggregate_id = %s FOR UPDATE', (account(what),))
        return at_once(works, until_all_wait)


def save(tx, what, order, amount, state):
    shop.query(tx, 'INSERT INTO shop.orders (order_id, account, amount, state) VALUES (%s, %s, %s, %s)', (order, account(what), amount, state))


def pay(what, order, amount, version=None):
    """Something of the shop's own and its event. Append first: a replayed one has its order already."""
    with shop.transaction() as tx:
        receipt = shop.append(tx, account(what), 'PointSpent', -amount, {'order': order}, version, f'pay-{order}')
        if receipt['outcome'] != 'replayed':
            save(tx, what, order, amount, 'paid')
        return receipt


def earn():
    receipt = shop.submit(account('a'), 'PointEarned', 5000, account('earn'))
    equal((receipt['outcome'], receipt['version'], receipt['balance']), ('appended', 1, 5000))
    shop.submit(account('big'), 'PointEarned', 2**53 + 1)
    equal(balance('big'), 2**53 + 1)


def spend():
    order = account('A-1')
    equal(pay('a', order, 4000)['balance'], 1000)
    equal(count('shop.orders WHERE order_id = %s', order), 1)
    equal(count("pointstore.event_store WHERE payload = jsonb_build_object('order', CAST(%s AS text))", order), 1)


def refusal():
    def too_much():
        with shop.transaction() as tx:
            save(tx, 'a', account('A-2'), 4000, 'paid')
            shop.append(tx, account('a'), 'PointSpent', -4000)
    refused('PS003', too_much)
    equal(count('shop.orders WHERE order_id = %s', account('A-2')), 0)
    equal(balance('a'), 1000)


def outcome():
    with shop.transaction() as tx:
        receipt = shop.try_append(tx, account('a'), 'PointSpent', -4000)
        save(tx, 'a', account('A-3'), 4000, receipt['outcome'])
    equal((receipt['outcome'], receipt['available'], receipt['version']), ('insufficient_balance', 1000, 2))
    equal(count("shop.orders WHERE order_id = %s AND state = 'insufficient_balance'", account('A-3')), 1)
    with shop.transaction() as tx:
        equal(shop.try_append(tx, account('a'), 'PointSpent', -1, version=1)['outcome'], 'version_conflict')


def one_request():
    def bonus(amount=7):
        return shop.submit(account('a'), 'PointEarned', amount, account('bonus'))
    receipts = at_once([bonus, bonus]) + [bonus()]
    equal(sorted(r['outcome'] for r in receipts), ['appended', 'replayed', 'replayed'])
    equal(len({r['id'] for r in receipts}), 1)
    equal(pay('a', account('A-1'), 4000)['outcome'], 'replayed')
    refused('PS002', lambda: bonus(8))
    equal(balance('a'), 1007)


def one_version():
    version = shop.read(account('a'))['version']
    ends = from_one_version('a', [lambda n=n: pay('a', account(f'B-{n}'), 600, version) for n in (1, 2)])
    equal(sorted(sqlstate(e) or e['outcome'] if isinstance(e, Exception) else e['outcome'] for e in ends), ['PS001', 'appended'])
    equal(balance('a'), 407)


def decide_anew():
    shop.submit(account('c'), 'PointEarned', 50)

    def once(n):
        row = shop.read(account('c'))
        return 'too little' if row['balance'] < 10 else pay('c', account(f'C-{n}'), 10, row['version'])['outcome']
    ends = at_once([lambda n=n: retry(lambda: once(n), account(f'C-{n}'), rereads=True, attempts=50, pause=0.005) for n in range(8)])
    equal(collections.Counter(ends), {'appended': 5, 'too little': 3})
    equal(balance('c'), 0)


def several():
    def gift(amount, request_id):
        with shop.transaction() as tx:
            return shop.append_all(tx, [{'aggregate_id': account('a'), 'event_type': 'Sent', 'amount': -amount},
                                        {'aggregate_id': account('b'), 'event_type': 'Received', 'amount': amount}], request_id)
    equal(len(gift(7, account('gift'))), 2)
    refused('PS003', lambda: gift(5000, account('gift-2')))
    equal((balance('a'), balance('b')), (400, 7))


def caught_inside():
    before = balance('a')
    try:
        with shop.transaction() as tx:
            shop.append(tx, account('a'), 'PointEarned', 1)
            try:
                shop.append(tx, account('a'), 'PointSpent', -90000)
            except Exception as error:
                equal(sqlstate(error), 'PS003')
        equal(sys.argv[1], 'sqlalchemy')         # says nothing
    except RuntimeError:
        pass
    equal(balance('a'), before)


# ---- the mapper writes both tables

def by_mapper(insert_first):
    what, order = ('i', 'the INSERT first') if insert_first else ('u', 'the UPDATE first')

    def pay_one(amount, n):
        return shop.pay_by_mapper(account(what), amount, account(f'{what}-{n}'), insert_first)

    def told_to_retry(amount, n, told=[]):
        return retry(lambda: pay_one(amount, n), account(f'{what}-{n}'), rereads=True, on_repeat=told.append)

    def both():
        shop.submit(account(what), 'PointEarned', 5000)
        equal(pay_one(4000, 1), 'appended')
        equal(balance(what), 1000)
        equal(count('pointstore.event_store WHERE request_id = %s AND amount = -4000 AND version = 2', account(f'{what}-1')), 1)
        equal(pay_one(4000, 1), 'replayed')
        refused('PS003', lambda: pay_one(4000, 2))

    def one_wins():
        told = []
        ends = from_one_version(what, [lambda n=n: told_to_retry(300, n, told) for n in (3, 4)])
        equal(ends, ['appended', 'appended'])
        equal(len(told), 1)
        print(f'# {name}, {order}: the other is told {sqlstate(told[0]) or type(told[0]).__name__}')
        equal(balance(what), 400)

    def twice():
        ends = from_one_version(what, [lambda: told_to_retry(100, 5)] * 2)
        equal(sorted(map(str, ends)), ['appended', 'replayed'])
        equal(balance(what), 300)

    ok(f'{order}: the balance and its event', both)
    ok(f'{order}: two at once, one wins, the other is told, and pays when it has read again', one_wins)
    ok(f'{order}: one request twice at once is applied once', twice)


# ---- what may go wrong with a server, and retry()

TIMES = (1, 2)
seen = collections.Counter()


def note(error):
    seen[sqlstate(error) or 'lost'] += 1


def lost():
    requests = [f'{fault}-{name}-{n}' for fault in ('lost-call', 'lost-answer', 'ended') for n in TIMES]

    def alone(request):
        return retry(lambda: shop.submit(account('f'), 'PointEarned', 1, request), request, attempts=8, on_repeat=note)

    def order(request):
        with shop.transaction() as tx:
            receipt = shop.append(tx, account('f'), 'PointEarned', 100, request_id=f'{request}-order')
            if receipt['outcome'] != 'replayed':
                save(tx, 'f', request.replace('-', '_'), 100, 'paid')     # the proxy is not to find it
            return receipt

    def together(request):
        return retry(lambda: order(request), request, attempts=8, on_repeat=note)
    ends = at_once([lambda r=r, w=w: w(r) for r in requests for w in (alone, together)])
    for end in ends:
        if isinstance(end, Exception):
            raise end
    replayed = sum(e['outcome'] == 'replayed' for e in ends)
    if replayed < 2 * len(TIMES):                       # an answer was lost, so it is replayed
        raise AssertionError((replayed, seen))
    equal(balance('f'), len(requests) * 101)
    equal(count('shop.orders WHERE account = %s', account('f')), len(requests))
    equal(count('pointstore.event_store WHERE aggregate_id = %s', account('f')), 2 * len(requests))
    print(f'# {name} was told {dict(seen)}')
    # libpq keeps no SQLSTATE of a session's end where the connection is gone when it looks; 08P01 is PgBouncer's word for it
    if seen['lost'] + seen['57P01'] + seen['08P01'] < 5 * len(TIMES):
        raise AssertionError(seen)


def in_step(work):
    """Two at once, which meet once in the middle of their first attempts."""
    met = threading.Barrier(2)

    def one(n):
        first = [True]

        def meet():
            if first.pop() if first else False:
                met.wait(30)
        return lambda: retry(lambda: work(n, meet), account(f'step-{n}'), attempts=8, on_repeat=note)
    for end in at_once([one(0), one(1)]):
        if isinstance(end, Exception):
            raise end


def deadlock():
    def work(n, meet):
        one, other = ('d', 'e') if n else ('e', 'd')
        with shop.transaction() as tx:
            shop.append(tx, account(one), 'PointEarned', 1, request_id=account(f'dead-{n}-{one}'))
            meet()
            shop.append(tx, account(other), 'PointEarned', 1, request_id=account(f'dead-{n}-{other}'))
    in_step(work)
    equal(seen['40P01'], 1)
    equal((balance('d'), balance('e')), (2, 2))


def serialization():
    def work(n, meet):
        with shop.transaction('SERIALIZABLE') as tx:
            shop.query(tx, 'SELECT count(*) FROM shop.orders')
            meet()
            shop.append(tx, account('d'), 'PointEarned', 10, request_id=account(f'serial-{n}'))
    in_step(work)
    equal(seen['40001'] >= 1, True)
    equal(balance('d'), 22)


def not_without():
    attempts = []

    def work():
        attempts.append(1)
        return shop.submit(account('g'), f'lost-answer-{name}-g', 1)        # the proxy does not mind where it finds it
    try:
        retry(work)
        raise AssertionError('repeated')
    except Exception as error:
        if may_repeat(error) or not may_repeat(error, 'one'):
            raise
    equal((len(attempts), balance('g')), (1, 1))


def table():
    for states, expected in (
            ('40001 40P01 55P03 PS013 57P03 08001 53300 23505:pointstore', (True, True, True)),
            ('08003 08006 53100 53200 57014 57P01 57P02 57P05', (False, True, False)),
            ('PS001 PS010', (False, False, True)),
            ('PS002 PS003 PS004 PS005 PS006 PS007 PS008 PS009 PS011 PS012 PS014 22003 22004 22023 0A000 23505:shop 23514 '
             '25001 25006 42501 55000 XX001 P0001', (False, False, False))):
        for state in states.split():
            try:
                with shop.transaction() as tx:
                    shop.query(tx, 'SELECT shop.fail(%s)', (state.replace(':', ' '),))
            except Exception as error:
                equal((state, may_repeat(error), may_repeat(error, 'one'), may_repeat(error, rereads=True)), (state, *expected))
    # no connection was to be had: a driver's own kind of OperationalError
    equal((may_repeat(PoolTimeout()), may_repeat(PoolTimeout(), 'one')), (False, True))


def nor():
    attempts = []

    def counted(work):
        attempts.append(1)
        return work()

    def order():
        with shop.transaction() as tx:
            save(tx, 'a', account('A-1'), 1, 'paid')
    refused('PS003', lambda: retry(lambda: counted(lambda: shop.submit(account('g'), 'PointSpent', -5, account('g'))), account('g'), rereads=True))
    refused('23505', lambda: retry(lambda: counted(order), 'x', rereads=True))
    try:
        retry(lambda: counted(lambda: {}.missing), 'x', rereads=True)
    except AttributeError:
        pass
    equal(len(attempts), 3)


ok('earn', earn)
ok('spend, with an order', spend)
ok('a refusal is an error, and takes the order with it', refusal)
ok('try_: a refusal is an outcome, and the transaction goes on', outcome)
ok('the same request is applied once, and answered alike', one_request)
ok('two at once from one version: one wins, the other is told', one_version)
ok('told to, it reads again and decides anew: none oversells', decide_anew)
if hasattr(shop, 'append_all'):
    ok('several events, all or nothing', several)
ok('a refusal that is caught inside is no commit', caught_inside)
if hasattr(shop, 'pay_by_mapper'):
    by_mapper(insert_first=False)
    by_mapper(insert_first=True)
ok('connections lost before and after the commit, and ended by the server: each request once', lost)
ok('deadlocks: one of two is repeated', deadlock)
ok('serialization failures: one of two is repeated', serialization)
ok('without a request_id a lost answer is not repeated', not_without)
ok('each SQLSTATE is repeated as the table of answers says', table)
ok('nor is a refusal, nor a bug', nor)
shop.end()
raise SystemExit(1 if failed else 0)
