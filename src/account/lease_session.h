/*-------------------------------------------------------------------------
 *
 * src/account/lease_session.h
 *		Leases that last as long as the session.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_LEASE_SESSION_H
#define POINTSTORE_LEASE_SESSION_H

#include "access/xact.h"

#define SESSION_LEASE_LOCK 15	/* objsubid of their locks in pg_locks, which users' numbers do not reach */

extern bool pointstore_begin_session_lease(text *name, int64 token);
extern void pointstore_end_session_lease(int64 token);
extern bool pointstore_session_lease_lives(int64 token);
extern void pointstore_refuse_session_leases(void);
extern void pointstore_session_leases_ended(bool committed);
extern void pointstore_session_leases_subended(SubXactEvent event, SubTransactionId mine, SubTransactionId parent);

#endif							/* POINTSTORE_LEASE_SESSION_H */
