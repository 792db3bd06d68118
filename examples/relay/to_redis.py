#!/usr/bin/env python3
"""Relays the feed to Redis Streams: a member of a subscription.

Each event becomes one entry, whose id is made of the event's position: <position>-0. Ids
of a stream must rise, and within a slot positions do: each slot has a stream of its own,
STREAM:<slot>, and whatever comes again, after a kill or from a member that was late, is
refused by Redis and recognised. So each event is in its stream once. An account's events
are in one stream, in the order of versions. Consumer groups read on the other side.

Redis keeps what it has confirmed if it runs with appendonly yes and appendfsync always.

    PGHOST, PGDATABASE, PGUSER ...   the store; the user owns the subscription
    SUBSCRIPTION                     its name: relay
    REDIS_URL                        redis://localhost:6379/0
    STREAM                           what the streams' names begin with: events
"""
import logging
import os
import signal
import socket
import threading

import psycopg
import redis

SUBSCRIPTION = os.environ.get('SUBSCRIPTION', 'relay')
URL = os.environ.get('REDIS_URL', 'redis://localhost:6379/0')
STREAM = os.environ.get('STREAM', 'events')
MEMBER = f'{socket.gethostname()}:{os.getpid()}'

CLAIM = """
SELECT slot, epoch, "position", id, (to_jsonb(d) - '{slot,epoch,attempt}'::text[])::text
  FROM pointstore.claim(%s, %s, 500) AS d"""

# Adds entries in order, and stops at the first error: an entry after one that failed
# would have that refused for ever. Returns how many were there already. One that is
# another event means that positions were given anew, by a restore of the store.
ADD = """
local doubles = 0
for i = 1, #ARGV, 3 do
    local entry = ARGV[i] .. '-0'
    local added = redis.pcall('XADD', KEYS[1], entry, 'id', ARGV[i + 1], 'event', ARGV[i + 2])
    if type(added) == 'table' and added.err then
        if not string.find(added.err, 'equal or smaller', 1, true) then
            return added
        end
        local there = redis.call('XRANGE', KEYS[1], entry, entry)
        if there[1] and there[1][2][2] ~= ARGV[i + 1] then
            return redis.error_reply('ANOTHER event has position ' .. ARGV[i] .. ' in ' .. KEYS[1])
        end
        doubles = doubles + 1
    end
end
return doubles"""

stop = threading.Event()
log = logging.getLogger('to_redis')


def main():
    logging.basicConfig(level=logging.INFO, format='%(asctime)s %(name)s: %(message)s')
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())    # ends after the batch
    while not stop.is_set():
        try:
            # Redis first: while it is away, nothing is claimed
            with redis.Redis.from_url(URL, socket_timeout=10) as broker:
                broker.ping()
                with psycopg.connect(autocommit=True) as db:
                    log.info('relaying %s to %s', SUBSCRIPTION, STREAM)
                    relay(db, broker)
        except (redis.RedisError, psycopg.OperationalError, OSError) as e:
            log.warning('again in a second: %s: %s', type(e).__name__, e)
            stop.wait(1)
    log.info('ended')


def relay(db, broker):
    add = broker.register_script(ADD)
    while not stop.is_set():
        events = db.execute(CLAIM, (SUBSCRIPTION, MEMBER)).fetchall()
        if not events:
            db.execute("CALL pointstore.wait_for_work(%s, '1 s')", (SUBSCRIPTION,))
            continue
        slot, epoch, last = events[0][0], events[0][1], events[-1][2]
        entries = [value for _, _, position, id, event in events for value in (position, id, event)]
        try:
            doubles = add(keys=[f'{STREAM}:{slot}'], args=entries)
        except redis.RedisError:
            # no event's fault: the slot goes back, and all of it comes again
            finish(db, 'SELECT pointstore.release(%s, %s, %s)', (SUBSCRIPTION, slot, epoch))
            raise
        if doubles:
            log.info('%s of %s events up to %s were there already', doubles, len(events), last)
        # Never nack() an event here: it would come after later ones of its slot, and be refused.
        finish(db, 'SELECT pointstore.ack(%s, %s, %s, %s)', (SUBSCRIPTION, slot, epoch, last))


def finish(db, statement, arguments):
    try:
        db.execute(statement, arguments)
    except psycopg.Error as e:
        # PS014: the lease ended and another member has the slot, who sends these again
        if e.sqlstate != 'PS014':
            raise
        log.warning('slot %s was taken over', arguments[1])


if __name__ == '__main__':
    main()
