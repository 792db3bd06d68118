/*-------------------------------------------------------------------------
 *
 * src/account/lease.h
 *		Leases: locks with a name, for a time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_LEASE_H
#define POINTSTORE_LEASE_H

#include "access/htup.h"
#include "utils/timestamp.h"

#include "ground/pointstore.h"

/* A lease as it was read, or as it is to be written. */
typedef struct Lease
{
	text	   *name;
	bool		exists;			/* has a row */
	text	   *holder;			/* null: nobody */
	int64		token;			/* the last that was given */
	TimestampTz acquired_at;
	bool		was_acquired;
	TimestampTz expires_at;
	bool		of_session;		/* it does not expire: it ends with the session that has acquired it */
	bool		is_changing;	/* held, and somebody has renewed or released it who has not committed */
	HeapTuple	row;			/* the version that was locked */
} Lease;

/* Who would have a lease. */
typedef struct LeaseRequest
{
	text	   *name;
	text	   *holder;
	Interval   *ttl;			/* null: as long as the session */
	bool		in_turn;		/* nobody waits who comes before */
	bool		by_force;		/* whoever has it */
} LeaseRequest;

typedef enum LeaseOutcome
{
	LEASE_TAKEN,
	LEASE_HELD,					/* by whom the lease says */
	LEASE_BLOCKED,				/* nobody's, and others have locked it, or come before */
	LEASE_MOVED					/* it has changed while it was looked at */
} LeaseOutcome;

extern void pointstore_read_lease_request(FunctionCallInfo fcinfo, LeaseRequest *request);
extern LeaseOutcome pointstore_take_lease(Lease *lease, const LeaseRequest *request);
extern bool pointstore_keep_lease(Lease *lease, const int64 *tokens, int n, bool *busy);
extern void pointstore_prune_leases(void);

#endif							/* POINTSTORE_LEASE_H */
