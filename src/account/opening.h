/*-------------------------------------------------------------------------
 *
 * src/account/opening.h
 *		How an account comes to be.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_OPENING_H
#define POINTSTORE_OPENING_H

#include "account/account.h"

extern bool pointstore_open_row(text *id, const Kind *kind, Oid role);
extern void pointstore_note_opening(const Account *account);
extern void pointstore_refuse_other_mode(text *id, bool pure);
extern void pointstore_refuse_events(text *id, Snapshot snapshot);
extern void pointstore_refuse_damaged(text *id, Snapshot snapshot);
extern void pointstore_find_stray_events(Account *account, Snapshot snapshot);
pg_noreturn extern void pointstore_raise_stray_events(text *id, int64 version);

#endif							/* POINTSTORE_OPENING_H */
