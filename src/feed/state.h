/*-------------------------------------------------------------------------
 *
 * src/feed/state.h
 *		An account's events, read in order of version, and the state that they come to.
 *
 * Whoever calls these acts as who reads, inside an SPI connection.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_STATE_H
#define POINTSTORE_STATE_H

#include "feed/upcast.h"
#include "ground/function.h"

/* Which events of an account are read. */
typedef struct EventRange
{
	text	   *aggregate_id;
	int64		after;			/* versions */
	int64		upto;
	int64		most;
	Upcasters  *upcasters;		/* NULL: as stored */
} EventRange;

/* An account, as far as its state is concerned. */
typedef struct StateAccount
{
	text	   *aggregate_id;
	bool		exists;
	int64		last;			/* version of its last event */
	char	   *kind;
	char	   *reducer;		/* null: its kind has none */
	int64		reducer_version;
} StateAccount;

/* A state under way: that after the event of a version. */
typedef struct Fold
{
	UserFunction *reducer;
	int64		version;
	Datum		state;
	MemoryContext context;
} Fold;

/* A kind's reducer, and what a state that it has made is known by. */
typedef struct Reducer
{
	Oid			function;
	Upcasters  *upcasters;
	char	   *stamp;			/* without the last event's id */
	char	   *rows;			/* in which its functions are: others than before where one was replaced */
} Reducer;

extern void pointstore_read_state_account(StateAccount *account, text *aggregate_id);
extern Reducer *pointstore_load_reducer(const StateAccount *account);
extern void pointstore_begin_fold(Fold *fold, Oid reducer);
extern bool pointstore_find_snapshot(Fold *fold, text *aggregate_id, int64 upto, const char *stamp);
extern void pointstore_fold_upto(Fold *fold, text *aggregate_id, int64 upto, Upcasters *upcasters);
extern void pointstore_fold_event(Fold *fold, Datum *values, Datum event);
extern void pointstore_read_events(const EventRange *range, bool (*take) (Datum *values, bool *nulls, void *arg), void *arg);

#endif							/* POINTSTORE_STATE_H */
