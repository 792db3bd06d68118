/*-------------------------------------------------------------------------
 *
 * src/account/id.h
 *		The ids of events.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_ID_H
#define POINTSTORE_ID_H

#include "account/account.h"
#include "ground/compat.h"

extern void pointstore_ids_request(void);
extern void pointstore_ids_set_up(void);
extern int64 pointstore_draw_id(Account *account);
extern int64 pointstore_draw_for_node(text *account);
extern int64 pointstore_last_of_node(text *account);
extern uint64 pointstore_drawn(void);
pg_noreturn extern void pointstore_refuse_sequence(const char *why, int64 above);

#endif							/* POINTSTORE_ID_H */
