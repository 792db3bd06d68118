/*-------------------------------------------------------------------------
 *
 * src/ground/twophase.h
 *		Commits of several nodes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_TWOPHASE_H
#define POINTSTORE_TWOPHASE_H

extern void pointstore_twophase_init(void);
extern void (*pointstore_prepared_committed) (void);

extern void pointstore_note_spread(void);
extern void pointstore_note_written(text *of);
extern void pointstore_tell_written(void);
extern void pointstore_tell_now(void);
extern int	pointstore_pin_transaction(void);
extern void pointstore_forget_written(void);

#endif							/* POINTSTORE_TWOPHASE_H */
