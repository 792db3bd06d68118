/*-------------------------------------------------------------------------
 *
 * src/account/log.h
 *		account_log: what happened to accounts without being an event.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_LOG_H
#define POINTSTORE_LOG_H

#include "account/account.h"

extern void pointstore_log(const char *action, text *reason, const Account *before, const Account *after);

#endif							/* POINTSTORE_LOG_H */
