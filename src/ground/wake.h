/*-------------------------------------------------------------------------
 *
 * src/ground/wake.h
 *		Whoever makes work for workers wakes the launcher.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_WAKE_H
#define POINTSTORE_WAKE_H

extern Size pointstore_wake_memory(void);
extern void pointstore_wake_set_up(void);
extern void pointstore_wake_at_commit(void);
extern void pointstore_wake_ended(bool committed);
extern void pointstore_wake_me(void);
extern uint64 pointstore_wakes(void);
extern void pointstore_set_idle(int number, bool idle);
extern bool pointstore_was_idle(int number);

#endif							/* POINTSTORE_WAKE_H */
