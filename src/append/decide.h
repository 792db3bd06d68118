/*-------------------------------------------------------------------------
 *
 * src/append/decide.h
 *		A proposed event judged on an account that was read.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_DECIDE_H
#define POINTSTORE_DECIDE_H

#include "append/judge.h"

extern void pointstore_know_account(Account *account, Snapshot snapshot);
extern bool pointstore_know_account_lease(const ProposedEvent *event, Account *account);
extern void pointstore_decide(const ProposedEvent *event, Decision *decision, Account *account);
extern void pointstore_report_account(Decision *decision, const Account *account);
extern void pointstore_report_stored_account(const ProposedEvent *event, Decision *decision);

#endif							/* POINTSTORE_DECIDE_H */
