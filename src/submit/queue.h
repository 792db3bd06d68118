/*-------------------------------------------------------------------------
 *
 * src/submit/queue.h
 *		Slots in which requests wait for the combiner of their database, and
 *		answers for their callers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_QUEUE_H
#define POINTSTORE_QUEUE_H

#include "port/atomics.h"
#include "storage/latch.h"

#include "submit/message.h"

/* The requests of one database. */
typedef struct Queue Queue;

/* Message and flush belong to the caller or the combiner, as the state says; all else is the queue's. */
typedef struct Slot
{
	pg_atomic_uint32 state;
	int			next;			/* in the queue, the free list, or after the leader; -1: the last */
	int			queue;
	Latch	   *latch;			/* the caller's */
	XLogRecPtr	flush;			/* WAL up to here comes before the answer; invalid: none */
	Message		message;
} Slot;

/* One start of a queue's combiner: a later one makes it void. */
typedef struct QueueStart
{
	int			queue;
	uint32		generation;
	Oid			database;
} QueueStart;

/* What a caller that waits is to do. */
typedef enum QueueAdvice
{
	QUEUE_WAIT,
	QUEUE_START_COMBINER,
	QUEUE_GIVE_UP				/* its request was taken back */
} QueueAdvice;

extern void pointstore_queue_init(void);
extern Size pointstore_queue_memory(void);
extern void pointstore_queue_set_up(void);
extern int	pointstore_queue_slots(void);

/* of callers */
extern Slot *pointstore_queue_put(const ProposedEvent *events, int n);
extern bool pointstore_queue_is_answered(Slot *slot);
extern QueueAdvice pointstore_queue_look_after(Slot *slot, QueueStart *start);
extern void pointstore_queue_start_failed(const QueueStart *start);
extern void pointstore_queue_leave(Slot *slot);

/* of combiners */
extern Queue *pointstore_queue_open(const QueueStart *start);
extern int	pointstore_queue_take(Queue *queue, Slot **slots);
extern void pointstore_queue_drop_abandoned(Slot **slots, int n);
extern void pointstore_queue_answer(Slot **slots, int n);
extern bool pointstore_queue_close(Queue *queue, bool if_empty);

#endif							/* POINTSTORE_QUEUE_H */
