#!/usr/bin/env python3
"""Relays the feed to RabbitMQ: a member of a subscription.

Each event becomes one persistent message, whose message id is the event's position. A
batch is acknowledged to the store when the broker has confirmed all of it, so nothing is
lost, whichever of the three is killed; what was under way then comes again. Messages of
an account come in the order of its versions, and a double is one whose position (or
version) is not above the highest that was seen of that account.

As many members as the subscription has slots can run at once. They need no names of their own.

    PGHOST, PGDATABASE, PGUSER ...   the store; the user owns the subscription
    SUBSCRIPTION                     its name: relay
    RABBITMQ_URL                     amqp://guest:guest@localhost:5672/%2F
    QUEUE                            a durable queue, declared here: events
"""
import logging
import os
import signal
import socket
import threading

import pika
import psycopg

SUBSCRIPTION = os.environ.get('SUBSCRIPTION', 'relay')
URL = os.environ.get('RABBITMQ_URL', 'amqp://guest:guest@localhost:5672/%2F')
QUEUE = os.environ.get('QUEUE', 'events')
MEMBER = f'{socket.gethostname()}:{os.getpid()}'

CLAIM = """
SELECT slot, epoch, "position", aggregate_id, event_type,
       (to_jsonb(d) - '{slot,epoch,attempt}'::text[])::text
  FROM pointstore.claim(%s, %s, 100) AS d"""

stop = threading.Event()
log = logging.getLogger('to_rabbitmq')


def main():
    logging.basicConfig(level=logging.INFO, format='%(asctime)s %(name)s: %(message)s')
    logging.getLogger('pika').setLevel(logging.CRITICAL)    # its errors are told below
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())    # ends after the batch
    while not stop.is_set():
        try:
            # the broker first: while it is away, nothing is claimed
            with connect_broker() as broker, psycopg.connect(autocommit=True) as db:
                log.info('relaying %s to %s', SUBSCRIPTION, QUEUE)
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
        events = db.execute(CLAIM, (SUBSCRIPTION, MEMBER)).fetchall()
        if not events:
            db.execute("CALL pointstore.wait_for_work(%s, '1 s')", (SUBSCRIPTION,))
            broker.process_data_events()    # heartbeats
            continue
        slot, epoch, last = events[0][0], events[0][1], events[-1][2]
        try:
            for _, _, position, aggregate_id, event_type, event in events:
                publish(channel, position, aggregate_id, event_type, event)
        except pika.exceptions.AMQPError:
            # no event's fault: the slot goes back, and all of it comes again
            finish(db, 'SELECT pointstore.release(%s, %s, %s)', (SUBSCRIPTION, slot, epoch))
            raise
        finish(db, 'SELECT pointstore.ack(%s, %s, %s, %s)', (SUBSCRIPTION, slot, epoch, last))


def publish(channel, position, aggregate_id, event_type, event):
    """Returns when the broker has the message safely; else raises an AMQPError."""
    channel.basic_publish(
        exchange='', routing_key=QUEUE, body=event.encode(),
        mandatory=True,     # no such queue is an error: else it would be dropped, and confirmed
        properties=pika.BasicProperties(
            message_id=str(position), content_type='application/json',
            delivery_mode=pika.spec.PERSISTENT_DELIVERY_MODE,
            headers={'aggregate_id': aggregate_id, 'event_type': event_type}))


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
