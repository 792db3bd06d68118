/*-------------------------------------------------------------------------
 *
 * src/feed/sequencer.h
 *		The background worker that sequences.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_SEQUENCER_H
#define POINTSTORE_SEQUENCER_H

#define POINTSTORE_SEQUENCER "pointstore sequencer"

extern void pointstore_sequencer_init(void);
extern bool pointstore_sequencer_is_on(void);
extern void pointstore_run_sequencer(void);

#endif							/* POINTSTORE_SEQUENCER_H */
