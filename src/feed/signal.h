/*-------------------------------------------------------------------------
 *
 * src/feed/signal.h
 *		Who writes events wakes the sequencer; the sequencer wakes who waits for the feed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_SIGNAL_H
#define POINTSTORE_SIGNAL_H

extern Size pointstore_feed_memory(void);
extern void pointstore_feed_set_up(void);
extern void pointstore_feed_commit(uint64 drawn);

extern bool pointstore_sequencer_begin(void);
extern bool pointstore_sequencer_watch(bool every_commit);
extern uint64 pointstore_sequencer_take(void);
extern void pointstore_sequencer_run_ended(bool failed);
extern void pointstore_sequencer_sleep(long timeout);
extern bool pointstore_sequencer_ask(void);
extern uint64 pointstore_feed_change(void);
extern uint64 pointstore_change_feed(void);
extern void pointstore_publish_head(int64 head);
extern void pointstore_forget_head(void);

extern bool pointstore_sequencer_is_alive(void);
extern int64 pointstore_published_head(void);
extern void pointstore_await_head(int64 after, long timeout);

#endif							/* POINTSTORE_SIGNAL_H */
