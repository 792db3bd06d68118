/*-------------------------------------------------------------------------
 *
 * src/account/lease_queue.h
 *		Who waits for which lease; and the tokens that were given.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_LEASE_QUEUE_H
#define POINTSTORE_LEASE_QUEUE_H

#include "utils/timestamp.h"

#include "ground/name.h"

#define LEASE_OF_ACCOUNT "account:"
#define POINTSTORE_MAX_LEASE (POINTSTORE_MAX_NAME + 8)	/* bytes of a name: that of an account's lease */

extern Size pointstore_lease_memory(void);
extern void pointstore_lease_set_up(void);
extern int64 pointstore_lease_clock(TimestampTz at);
extern int64 pointstore_draw_lease_token(int64 last);

extern bool pointstore_lease_queue_enter(text *name);
extern void pointstore_lease_queue_leave(void);
extern bool pointstore_lease_queue_is_first(void);
extern void pointstore_lease_queue_is_blocked(bool blocked);
extern bool pointstore_lease_is_awaited(text *name);

extern void pointstore_lease_changes(text *name);
extern void pointstore_lease_is_checked(text *name);
extern void pointstore_lease_hash_changes(uint64 hash);
extern uint64 pointstore_lease_hash(text *name);
extern void pointstore_wake_lease_waiters(void);

#endif							/* POINTSTORE_LEASE_QUEUE_H */
