/*-------------------------------------------------------------------------
 *
 * src/append/leased.h
 *		Events that are taken only from who holds their account's lease.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_LEASED_H
#define POINTSTORE_LEASED_H

#include "account/account.h"
#include "append/propose.h"

extern void pointstore_leased_init(void);
extern text *pointstore_lease_setting(void);
extern bool pointstore_shows_token(const ProposedEvent *event);
extern bool pointstore_know_lease(const ProposedEvent *event, Account *account, const Kind *kind, bool *busy);

#endif							/* POINTSTORE_LEASED_H */
