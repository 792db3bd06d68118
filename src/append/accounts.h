/*-------------------------------------------------------------------------
 *
 * src/append/accounts.h
 *		The accounts of a batch.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_ACCOUNTS_H
#define POINTSTORE_ACCOUNTS_H

#include "append/write.h"

extern void pointstore_gather_accounts(BatchWork *work);
extern Snapshot pointstore_read_accounts(BatchWork *work, bool lock);

#endif							/* POINTSTORE_ACCOUNTS_H */
