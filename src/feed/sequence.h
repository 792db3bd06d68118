/*-------------------------------------------------------------------------
 *
 * src/feed/sequence.h
 *		Positions: given to events after they have been committed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_SEQUENCE_H
#define POINTSTORE_SEQUENCE_H

/* What a run has come to. */
typedef struct SequenceRun
{
	int64		head;			/* the last position given, by whomever */
	int64		given;			/* positions given by this run */
	int64		id;				/* up to there events were read */
	int64		last;			/* the last id that was drawn */
	bool		more;			/* there was more than one run gives */
	bool		prepared;		/* prepared transactions have written events */
} SequenceRun;

extern bool pointstore_is_sequenced(void);
extern void pointstore_sequence(SequenceRun *run);
extern bool pointstore_sequence_is_under_way(void);
extern bool pointstore_sequence_awaits_writers(void);
extern void pointstore_sequence_ended(bool committed);
extern void pointstore_sequence_failed(void);
extern bool pointstore_sequence_rests(void);
extern bool pointstore_sequence_is_due(uint64 drawn);

#endif							/* POINTSTORE_SEQUENCE_H */
