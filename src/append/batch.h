/*-------------------------------------------------------------------------
 *
 * src/append/batch.h
 *		A batch of proposed events.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_BATCH_H
#define POINTSTORE_BATCH_H

#include "account/account.h"
#include "append/refusal.h"

/*
 * Proposed events that stand or fall together; or apart: then a refused request is
 * passed over with its outcome in its events, and only an error takes all back.
 */
typedef struct Batch
{
	ProposedEvent *events;
	int			nevents;
	bool		balanced;
	bool		same_unit;		/* all accounts of a request count the same */
	bool		refusals_are_outcomes;
	bool		apart;			/* what would have to be waited for is OUTCOME_BUSY */
	bool		trusting;		/* an applied request may also be an error, 40001 */

	Account    *accounts;		/* in the one lock order: by bytes of the id */
	int			naccounts;
	ProposedEvent **first;		/* of each account, the others by ->next */
	bool		written;		/* this attempt has written a row */
	bool		again;			/* a twin was waited for: all is to be read again */
	ProposedEvent *refused;		/* the first that failed */
	const ProposedEvent *current;	/* that is being judged or written; null: none in particular */
	bool		overtaken;		/* by others: what this attempt has written is to be taken back, and all begun anew */
} Batch;

#endif							/* POINTSTORE_BATCH_H */
