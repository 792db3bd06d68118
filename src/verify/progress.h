/*-------------------------------------------------------------------------
 *
 * src/verify/progress.h
 *		What a reconciliation under way shows of itself.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_PROGRESS_H
#define POINTSTORE_PROGRESS_H

typedef enum PointstoreFigure
{
	PROGRESS_LEADER,			/* of a parallel worker: the session it works for */
	PROGRESS_FULL,
	PROGRESS_PHASE,
	PROGRESS_ACCOUNTS_DONE,
	PROGRESS_ACCOUNTS_TOTAL,	/* 0: unknown, as the next but one */
	PROGRESS_EVENTS_DONE,
	PROGRESS_EVENTS_TOTAL,
	PROGRESS_STARTED_AT,
	N_PROGRESS_FIGURES
} PointstoreFigure;

typedef enum PointstorePhase
{
	PHASE_INITIALIZING,
	PHASE_WAITING,
	PHASE_SCANNING,
	PHASE_EXAMINING,
	PHASE_FINDINGS,
	PHASE_SPOOLING
} PointstorePhase;

extern void pointstore_progress_start(bool full);
extern void pointstore_progress_set(PointstoreFigure figure, int64 value);
extern void pointstore_progress_count(int64 events);
extern void pointstore_progress_end(void);

#endif							/* POINTSTORE_PROGRESS_H */
