#!/usr/bin/env python3
"""Relays events to RabbitMQ by logical decoding, with the plugin wal2json.

A replication slot remembers how far this is: no subscription, no position, nothing
written to the store. Events come in the order of their commits, an account's in the
order of versions. They may come before they have a position, so the key is the event's
id: it is the message id, and a double is one whose id (or version) is not above the
highest that was seen of its account.

A batch of whole transactions is published, the broker confirms it, then the slot is
advanced. What was under way when one of the three was killed comes again; so does, after
a crash of PostgreSQL, what it had not yet saved of the advance. One relay to a slot.

PostgreSQL needs wal_level = logical, the package postgresql-NN-wal2json, and, where there is
such a setting, wal2json among output_plugin_libraries. Only events
committed after the slot was created are in it. A slot keeps WAL until it is advanced:
watch pg_replication_slots, and set max_slot_wal_keep_size. It does not follow a failover.

    PGHOST, PGDATABASE, PGUSER ...   the store; the user has REPLICATION
    REPLICATION_SLOT                 created here where there is none: relay
    RABBITMQ_URL                     amqp://guest:guest@localhost:5672/%2F
    QUEUE                            a durable queue, declared here: events
"""
import json
import logging
import os
import signal
import threading

import pika
import psycopg

SLOT = os.environ.get('REPLICATION_SLOT', 'relay')
URL = os.environ.get('RABBITMQ_URL', 'amqp://guest:guest@localhost:5672/%2F')
QUEUE = os.environ.get('QUEUE', 'events')

CREATE_SLOT = """
SELECT pg_create_logical_replication_slot(%(slot)s, 'wal2json')
 WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = %(slot)s)"""

# Whole transactions, until there are 1,000 rows: a B, its inserts, and a C whose lsn is
# where the slot goes on after it. Those that wrote no event are a B and a C alone.
PEEK = """
SELECT lsn, data FROM pg_logical_slot_peek_changes(%s, NULL, 1000,
    'format-version', '2', 'actions', 'insert', 'add-tables', 'pointstore.event_store')"""

# Nothing up to here: what other databases have written need not be kept for this slot.
PASS_OVER = """
SELECT pg_replication_slot_advance(%s, %s) FROM pg_replication_slots
 WHERE slot_name = %s AND %s::pg_lsn - confirmed_flush_lsn > 16777216"""

stop = threading.Event()
log = logging.getLogger('by_decoding')


def main():
    logging.basicConfig(level=logging.INFO, format='%(asctime)s %(name)s: %(message)s')
    logging.getLogger('pika').setLevel(logging.CRITICAL)    # its errors are told below
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())    # ends after the batch
    while not stop.is_set():
        try:
            with psycopg.connect(autocommit=True) as db, connect_broker() as broker:
                db.execute(CREATE_SLOT, {'slot': SLOT})
                log.info('relaying slot %s to %s', SLOT, QUEUE)
                relay(db, broker)
        except (pika.exceptions.AMQPError, psycopg.OperationalError, OSError) as e:
            log.warning('again in a second: %s: %s', type(e).__name__, e)
            stop.wait(1)
    log.info('ended')


def connect_broker():
    parameters = pika.URLParameters(URL)
    parameters.heartbeat = 10
    parameters.socket_timeout = 5
    # a broker that is out of memory or disk stops reading: an error then, not a wait
    parameters.blocked_connection_timeout = 10
    return pika.BlockingConnection(parameters)


def relay(db, broker):
    channel = broker.channel()
    channel.queue_declare(QUEUE, durable=True)
    channel.confirm_delivery()      # basic_publish returns when the message is on disk
    while not stop.is_set():
        done = None
        head = db.execute('SELECT pg_current_wal_flush_lsn()').fetchone()[0]
        # a cursor: one transaction may be large, and PostgreSQL keeps it for us
        with db.transaction(), db.cursor('changes') as changes:
            changes.itersize = 500
            for lsn, data in changes.execute(PEEK, (SLOT,)):
                change = json.loads(data)
                if change['action'] == 'I':
                    publish(channel, {c['name']: c['value'] for c in change['columns']})
                elif change['action'] == 'C':
                    done = lsn
                    if stop.is_set():
                        break
        if done:
            db.execute('SELECT pg_replication_slot_advance(%s, %s)', (SLOT, done))
        else:
            db.execute(PASS_OVER, (SLOT, head, SLOT, head))
            broker.process_data_events()    # heartbeats
            stop.wait(0.2)


def publish(channel, event):
    """Returns when the broker has the message safely; else raises an AMQPError."""
    # payload and metadata are JSON in a string, as the plugin writes it: no number of theirs is rounded
    channel.basic_publish(
        exchange='', routing_key=QUEUE, body=json.dumps(event, ensure_ascii=False).encode(),
        mandatory=True,     # no such queue is an error: else it would be dropped, and confirmed
        properties=pika.BasicProperties(
            message_id=str(event['id']), content_type='application/json',
            delivery_mode=pika.spec.PERSISTENT_DELIVERY_MODE,
            headers={'aggregate_id': event['aggregate_id'], 'event_type': event['event_type']}))


if __name__ == '__main__':
    main()
