/*-------------------------------------------------------------------------
 *
 * src/append/judge.h
 *		The rules of an append.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_JUDGE_H
#define POINTSTORE_JUDGE_H

#include "utils/snapshot.h"

#include "account/account.h"
#include "append/refusal.h"

extern void pointstore_judge(ProposedEvent *event, Account *account, Snapshot snapshot);

#endif							/* POINTSTORE_JUDGE_H */
