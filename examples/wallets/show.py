#!/usr/bin/env python3
"""The show: payments and orders between users of three servers, one of which is killed every few seconds, and on the
screen what everybody holds.

    show.py FOLDER [SECONDS]        in an empty folder; without SECONDS until ^C

A line a second: the won that each server's accounts hold, or that it is down; what is reserved there; the movements that
have not ended; and the sum. While money is between two servers the sum is not what was put in: what one has given and the
other not yet taken is under way. In the last line but one nothing is, and the last says whether all is there.
"""
import collections
import itertools
import json
import random
import signal
import sys
import threading
import time

import psycopg

from town import Town
from wallets import Wallets

USERS = [f'user-{n}' for n in range(1, 31)]
ITEMS = ('tea', 'cup', 'rice')
OPENING = {'won': 1000000, 'points': 5000, 'coupons': 3}
CUSTOMERS = 8
LIFE = 4        # seconds between two kills
DEATH = 2       # seconds that a server is down


def open_accounts(town, wallets):
    """Each user's at home, the shop's where it is; what they hold at the beginning is all there ever is."""
    def opened(account, kind, amount):
        return {'aggregate_id': account, 'kind': kind, 'event_type': 'Opened', 'amount': amount}

    shop, stock, coupons = wallets.names[:3]
    accounts = {name: [] for name in wallets.names}
    for user in USERS:
        accounts[wallets.home(user)] += [opened(f'{user}/{kind}', kind, amount) for kind, amount in OPENING.items()]
        accounts[wallets.home(user)].append(opened(f'{user}/goods', 'goods', 0))
    accounts[shop].append(opened('shop/points', 'points', 0))
    accounts[stock] += [opened(f'stock/{item}', 'goods', 100) for item in ITEMS]
    accounts[coupons].append(opened('coupons/used', 'coupons', 0))
    for store in town:
        with store.connect() as db:
            db.execute('SELECT count(*) FROM pointstore.append_events(%s)', (json.dumps(accounts[store.name]),))


class Customers:
    """Threads that pay and order until they are told to end. What they are told is kept, by the name of the payment."""

    def __init__(self, town, protocols=('tcc',)):
        self.payments, self.orders = Wallets(town.connections, 'payments'), Wallets(town.connections, 'orders')
        self.protocols = protocols
        self.done, self.numbers, self.told, self.wrong = threading.Event(), itertools.count(1), {}, []
        self.threads = [threading.Thread(target=self.run, args=(n,), daemon=True) for n in range(CUSTOMERS)]

    def start(self):
        for thread in self.threads:
            thread.start()

    def end(self):
        self.done.set()
        for thread in self.threads:
            thread.join()

    def run(self, seed):
        dice = random.Random(seed)
        while not self.done.is_set():
            try:
                self.order(dice) if dice.random() < 0.2 else self.pay(dice)
            except Exception as error:      # whatever it is, it is told at the end
                self.wrong.append(repr(error))
                return
        self.payments.close()
        self.orders.close()

    def pay(self, dice):
        payer, payee = dice.sample(USERS, 2)
        name = f'pay-{next(self.numbers)}'
        # some want to pay more than they have
        won = dice.randint(1, 50000) if dice.random() < 0.95 else 3000000
        try:
            self.told[name] = self.payments.pay(payer, payee, won, name, dice.choice(self.protocols))[0]
        except psycopg.Error as error:
            if error.sqlstate != 'PS003':
                raise
            self.told[name] = 'refused'

    def order(self, dice):
        name = f'order-{next(self.numbers)}'
        try:
            self.told[name] = self.orders.order(dice.choice(USERS), dice.choice(ITEMS), dice.randint(100, 900), name)[0]
        except psycopg.Error as error:
            if error.sqlstate != 'PS003':
                raise
            self.told[name] = 'refused'

    def counts(self):
        return collections.Counter(list(self.told.values()))


class Reaper(threading.Thread):
    """Kills a server, and starts it again after a while."""

    def __init__(self, town, life=LIFE, death=DEATH):
        super().__init__(daemon=True)
        self.town, self.life, self.death = town, life, death
        self.kills, self.done, self.wrong = 0, threading.Event(), None

    def run(self):
        dice = random.Random(7)
        try:
            while not self.done.wait(self.life):
                store = dice.choice(list(self.town))
                store.kill()
                self.kills += 1
                self.done.wait(self.death)
                store.start()
        except RuntimeError as error:
            self.wrong = error

    def end(self):
        self.done.set()
        self.join()
        if self.wrong:
            raise self.wrong


def settle(town, seconds=60):
    """Waits until nothing is under way."""
    end = time.monotonic() + seconds
    while town.under_way():
        if time.monotonic() > end:
            raise TimeoutError('movements are still under way')
        time.sleep(0.1)


def line(town, since, customers):
    figures = town.figures()
    up = [f['KRW'] for f in figures.values() if f]
    columns = [f'{f["KRW"][0]:>12,}' if f else '        down' for f in figures.values()]
    total = f'{sum(won for won, *_ in up):>13,}' if len(up) == len(figures) else '            ?'
    counts = customers.counts()
    made = counts['confirmed'] + counts['done']
    return (f'{time.monotonic() - since:5.0f} s {"".join(columns)} {total}   {sum(held for _, held, _ in up):>10,}   '
            f'{made:>6,}   {sum(counts.values()) - made:>6,}')


def show(folder, seconds):
    town, stop = Town(folder), threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    print(f'Three servers are made in {folder} …', flush=True)
    try:
        town.create()
        customers = Customers(town)
        open_accounts(town, customers.payments)
        for store in town:
            print(f'    psql -h {store.folder} -p {store.port} -U postgres wallets        # {store.name}')
        print('\n        ' + ''.join(f'{store.name:>12}' for store in town) + '           sum     reserved     made  refused', flush=True)
        return play(town, customers, seconds, stop)
    finally:
        town.stop()


def play(town, customers, seconds, stop):
    reaper, since = Reaper(town), time.monotonic()
    customers.start()
    reaper.start()
    while not stop.wait(1) and not (seconds and time.monotonic() - since > seconds):
        print(line(town, since, customers), flush=True)
    print('No more customers, no more kills: what is under way comes to its end …', flush=True)
    reaper.end()
    customers.end()
    settle(town)
    print(line(town, since, customers))
    units = collections.Counter()
    for store in town.figures().values():
        for unit, (balance, *_) in store.items():
            units[unit] += balance
    whole = units == {'KRW': 30000000, 'point': 150000, 'piece': 300, 'coupon': 90}
    print(f'{reaper.kills} kills. ' + ', '.join(f'{n:,} {unit}' for unit, n in units.items()) +
          (': all that was put in.' if whole else ': this is not what was put in!'))
    for wrong in customers.wrong:
        print(wrong)
    return whole and not customers.wrong


if __name__ == '__main__':
    sys.exit(0 if show(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0) else 1)
