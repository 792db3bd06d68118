/*-------------------------------------------------------------------------
 *
 * src/nodes/live.h
 *		Movements that are not finished, as the coordinator has them in memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_LIVE_H
#define POINTSTORE_LIVE_H

#include "datatype/timestamp.h"
#include "lib/ilist.h"
#include "lib/pairingheap.h"
#include "nodes/protocol.h"

/* Steps that are to be asked something, of one other store, in the order in which they are. */
typedef struct StepQueue
{
	dlist_head	decided;		/* these go first: accounts may be locked until they have come */
	dlist_head	ready;			/* tries */
	int			n;
} StepQueue;

/* Where a step of a movement is, as far as messages go. */
typedef enum StepPlace
{
	PLACE_IDLE,					/* nothing is to be asked */
	PLACE_READY,				/* in its store's queue */
	PLACE_DELAYED,				/* to be asked again at next_try */
	PLACE_SENT
} StepPlace;

/* An answer that is not applied yet. */
typedef struct LiveAnswer
{
	bool		is_there;
	MovementAnswer answer;
	char	   *unit;
	int64		event_id;		/* 0: none */
	char		sqlstate[6];
	char	   *error;
} LiveAnswer;

struct Live;

typedef struct LiveStep
{
	struct Live *live;
	int16		step;			/* from 1 */
	StepQueue  *queue;			/* NULL: this store's own */
	int64		amount;
	char	   *account;
	char	   *unit;			/* NULL: not known */
	char	   *contents;		/* members of the message that tries it; NULL: it is not to be tried again */
	StepPlace	place;
	MovementVerb verb;			/* that is asked, or was last */
	int			attempts;		/* of it, since the last answer that said something */
	bool		was_busy;
	bool		asked_before;	/* 2pc: a transaction of it may be prepared */
	char	   *note;			/* an error that its row is to show, though it is asked again; NULL: none */
	TimestampTz next_try;
	dlist_node	node;			/* READY */
	pairingheap_node delayed;	/* DELAYED */
	LiveAnswer	answer;
	LiveAnswer *outcome;		/* of the transaction under way: what the step has come to; NULL: nothing new */
	StepStatus	told;			/* what its row says */
	char	   *told_error;
} LiveStep;

typedef struct Live
{
	int64		number;			/* key of the table */
	char	   *movement_id;
	int32		hash;			/* of that: by which its rows are where they are in a distributed store */
	int64		incarnation;	/* of this store when it began */
	MovementProtocol protocol;
	MovementPhase phase;		/* as committed */
	MovementPhase next_phase;	/* as it is to be, while a transaction is under way */
	TimestampTz deadline;		/* DT_NOEND: none */
	bool		balanced;
	bool		asks_all;
	bool		is_overdue;		/* its deadline has passed */
	bool		unbalanced;		/* its units do not add up */
	bool		is_dirty;		/* on the list of those that are to be looked at */
	bool		is_gone;		/* finished, or not ours any more: freed when nothing is under way */
	bool		is_locked;		/* its row is, by the transaction under way */
	bool		is_finished;	/* it is to be */
	bool		is_stale;		/* its row is not what we know: it is read again */
	int			sent;			/* messages under way */
	int			failures;		/* of its transaction, in a row */
	TimestampTz paused_until;	/* nothing is done for it before; 0: it is not */
	int			nsteps;
	StepStatus *status;			/* as committed */
	StepStatus *next_status;	/* as they are to be */
	bool	   *local;
	LiveStep   *steps;
	const char *error;			/* that it is to have, in memory of the transaction under way; NULL: none */
	dlist_node	dirty;
	pairingheap_node due;		/* by wakes_at */
	TimestampTz wakes_at;		/* its deadline while it is undecided, or the end of its pause */
	bool		has_due;
} Live;

/* An entry of the table of them. */
typedef struct LiveEntry
{
	int64		number;
	Live	   *live;
} LiveEntry;

/* All of them. */
typedef struct LiveSet
{
	struct HTAB *table;			/* by number */
	StepQueue  *(*queue_of) (const char *server);
	dlist_head	dirty;
	int			ndirty;
	pairingheap *due;
	pairingheap *delayed;
	MemoryContext context;
	double		prepared_limit; /* s, after which 2pc gives up what is not decided */
	/* what of the table has been read */
	bool		is_loaded;
	bool		has_stale;		/* some are to be read again */
	bool		has_unsound;	/* some cannot be driven, and so do not finish */
	int64		cursor;			/* numbers up to there are known, but for the gaps */
	int64	   *gaps;			/* numbers that may still come, and by whom */
	TransactionId *gap_xids;
	int			ngaps;
	int			gaps_size;
	bool		sweeps;			/* transactions from before the first look may still be running */
	TransactionId sweeps_xid;
} LiveSet;

extern void pointstore_lives_begin(LiveSet *set, StepQueue *(*queue_of) (const char *server));
extern void pointstore_lives_end(LiveSet *set);
extern void pointstore_lives_forget(LiveSet *set, const StepQueue *queue);
extern Live *pointstore_live_make(LiveSet *set, int64 number, int nsteps);
extern void pointstore_live_replace(char **kept, const char *value);
extern void pointstore_steps_begin(StepQueue *queue);
extern LiveStep *pointstore_step_next(StepQueue *queue);
extern void pointstore_steps_refuse(LiveSet *set, StepQueue *queue, const char *server);
extern void pointstore_step_unplace(LiveSet *set, LiveStep *step);
extern Live *pointstore_live_of(LiveSet *set, int64 number);
extern void pointstore_live_dirty(LiveSet *set, Live *live);
extern void pointstore_live_clean(LiveSet *set, Live *live);
extern void pointstore_live_view(const Live *live, const StepStatus *status, MovementPhase phase, MovementView *view);
extern bool pointstore_live_is_undecided(MovementPhase phase);
extern void pointstore_live_follow(LiveSet *set, Live *live);
extern const char *pointstore_step_error(const LiveStep *step, StepStatus status);
extern void pointstore_live_pause(LiveSet *set, Live *live, TimestampTz until);
extern void pointstore_live_drop(LiveSet *set, Live *live);
extern void pointstore_step_delay(LiveSet *set, LiveStep *step, TimestampTz until);
extern void pointstore_step_answered(LiveSet *set, LiveStep *step, const LiveAnswer *answer);
extern void pointstore_step_note(LiveSet *set, LiveStep *step, const char *error);
extern void pointstore_step_unanswered(LiveSet *set, LiveStep *step, TimestampTz until, const char *error);
extern bool pointstore_live_timers(LiveSet *set, TimestampTz now, TimestampTz *next);
extern long pointstore_lives_count(LiveSet *set);
extern bool pointstore_lives_lowest(LiveSet *set, int64 incarnation, int64 *of_incarnation, int64 *number);

#endif							/* POINTSTORE_LIVE_H */
