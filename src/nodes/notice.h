/*-------------------------------------------------------------------------
 *
 * src/nodes/notice.h
 *		Who starts or decides movements wakes the coordinator; who settles them wakes who waits.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_NOTICE_H
#define POINTSTORE_NOTICE_H

#include "access/xact.h"

#include "c.h"

extern Size pointstore_notice_memory(void);
extern void pointstore_notice_set_up(void);

/* told when this transaction has committed */
extern void pointstore_movement_starts(void);
extern void pointstore_movement_changes(void);
extern void pointstore_movement_settles(text *movement_id);
extern void pointstore_notices_ended(XactEvent event);

/* the coordinator's */
extern bool pointstore_coordinator_begin(void);
extern uint64 pointstore_movements_started(void);
extern uint64 pointstore_movements_changed(void);
extern bool pointstore_coordinator_is_alive(void);

/* who waits */
extern void pointstore_begin_to_await(text *movement_id);
extern void pointstore_await_notice(text *movement_id, long timeout);
extern void pointstore_end_to_await(void);

#endif							/* POINTSTORE_NOTICE_H */
