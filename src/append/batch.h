/*-------------------------------------------------------------------------
 *
 * src/append/batch.h
 *		Proposed events that are appended together, and what that comes to.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_BATCH_H
#define POINTSTORE_BATCH_H

#include "append/judge.h"

/*
 * What is to be appended, and how. The events stand or fall together, unless their requests
 * are independent: then a refused request is passed over with its outcome in its
 * decisions, and only an error takes all back.
 */
typedef struct Batch
{
	ProposedEvent *proposals;
	int			nevents;
	int			nchecks;		/* conditions, which come after them */
	bool		balanced;
	bool		may_spread;		/* accounts may be on other nodes (spread.c) */
	const char *part_function;	/* that appends a part of it there, takes and answers what append_part() does; null: that one */
	bool		is_part;		/* its requests have other events on other nodes: each is looked up by its leg alone */
	bool		same_unit;		/* all accounts of a request count the same */
	bool		refusals_are_outcomes;
	bool		independent;	/* the requests are; what would have to be waited for is OUTCOME_BUSY */
	bool		assume_new;		/* that no request was applied before: one that was may also be an error, 40001 */

	/* what it has come to */
	Decision   *decisions;		/* one for each proposal and each condition */
	Decision   *refused;		/* the first that failed, where all stand or fall together */
	const ProposedEvent *current;	/* being judged or written; null: none in particular; stays where an error came from */
	bool		written;		/* the last attempt has written a row; likewise */
} Batch;

/* An event of a batch that is worked on. Those of a request lie next to each other. */
typedef struct BatchEvent
{
	ProposedEvent *proposal;
	Decision   *decision;
	Account    *account;
	struct BatchEvent *same_as; /* earlier event of the batch with the same request_id, which it repeats */
	struct BatchEvent *next;	/* of the batch on the same account */
	struct BatchEvent *previous;	/* the same */
} BatchEvent;

#endif							/* POINTSTORE_BATCH_H */
