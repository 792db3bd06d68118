/*-------------------------------------------------------------------------
 *
 * src/guard/account.h
 *		The check of an account's row that is inserted by hand.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_GUARD_ACCOUNT_H
#define POINTSTORE_GUARD_ACCOUNT_H

#include "commands/trigger.h"

extern void pointstore_check_new_account(const TriggerData *trigger, const AttrNumber *att, bool pure);

#endif							/* POINTSTORE_GUARD_ACCOUNT_H */
