"""Wallets whose users are spread over several stores: what an application calls.

A user's accounts are in one store, found by a hash of the name. A payment is a movement that begins in the payer's store:
there the money is reserved at once, and the store's coordinator does the rest. So the payer's store is asked for it, by
the payment's name, as often as it takes to get an answer: when a connection is lost, nobody knows what the last call has
come to, and the same call says so.
"""
import json
import random
import re
import threading
import time
import zlib

import psycopg

# the connection is lost, or cannot be had; the server is out of something, or goes down; it was somebody else's turn
AGAIN = re.compile('08...|40001|40P01|53...|55P03|57P0.')


class Wallets:
    """stores: by their names, what psycopg.connect() takes. One object serves many threads."""

    def __init__(self, stores, user, patience=60):
        self.stores, self.user, self.patience = stores, user, patience
        self.names = sorted(stores)
        self.mine = threading.local()

    def home(self, user):
        return self.names[zlib.crc32(user.encode()) % len(self.names)]

    def pay(self, payer, payee, won, name, protocol='tcc'):
        """Returns the phase that the payment has come to, and why it was not made. Raises PS003 where the payer has not enough."""
        home, to = self.home(payer), self.home(payee)
        state = self.call(home, "SELECT phase, settled, error FROM pointstore.move(%s, %s, %s, %s, to_server => %s, protocol => %s)",
                          f'{payer}/won', f'{payee}/won', won, name, None if to == home else to, protocol)
        return self.settle(home, name, state)

    def order(self, buyer, item, price, name):
        """A saga: points, stock and a coupon, each step committed by itself; what was done is undone when one is refused."""
        home = self.home(buyer)
        shop, stock, coupons = self.names[:3]

        def step(where, account, amount, event_type, undo=None):
            return {'server': None if where == home else where, 'aggregate_id': account, 'amount': amount, 'event_type': event_type,
                    'payload': {'order': name}, 'undo': undo and {'event_type': undo}}

        steps = [step(home, f'{buyer}/points', -price, 'PointsSpent', undo='PointsRefunded'),
                 step(shop, 'shop/points', price, 'PointsTaken', undo='PointsGivenBack'),
                 step(stock, f'stock/{item}', -1, 'StockTaken', undo='StockPutBack'),
                 step(home, f'{buyer}/goods', 1, 'GoodsBooked', undo='GoodsUnbooked'),
                 step(home, f'{buyer}/coupons', -1, 'CouponUsed'),              # undone by a reversal
                 step(coupons, 'coupons/used', 1, 'CouponCounted')]
        state = self.call(home, "SELECT phase, settled, error FROM pointstore.start_movement(%s, %s, 'saga')", name, json.dumps(steps))
        return self.settle(home, name, state)

    def settle(self, home, name, state):
        phase, settled, error = state
        while not settled:
            phase, settled, error = self.call(home, "SELECT phase, settled, error FROM pointstore.wait_for_movement(%s, '5 s')", name)
        return phase, error

    def call(self, store, sql, *arguments):
        """One row of an answer, asked for again where that is of use."""
        end = time.monotonic() + self.patience
        while True:
            try:
                return self.connection(store).execute(sql, arguments).fetchone()
            except psycopg.Error as error:
                if error.sqlstate and not AGAIN.fullmatch(error.sqlstate) or time.monotonic() > end:
                    raise
                if not error.sqlstate or error.sqlstate.startswith(('08', '57')):
                    self.close(store)
            time.sleep(random.uniform(0, 0.2))

    def connection(self, store):
        """Each thread has one for each store; a call is a transaction of its own."""
        mine = self.mine.__dict__
        if store not in mine:
            mine[store] = psycopg.connect(**self.stores[store], user=self.user, autocommit=True)
        return mine[store]

    def close(self, *stores):
        for store in stores or list(self.mine.__dict__):
            connection = self.mine.__dict__.pop(store, None)
            if connection:
                connection.close()
