/*-------------------------------------------------------------------------
 *
 * src/nodes/dispatch.h
 *		Messages to other stores as JSON, and their answers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_DISPATCH_H
#define POINTSTORE_DISPATCH_H

#include "access/xlogdefs.h"
#include "lib/stringinfo.h"
#include "utils/jsonb.h"

#include "nodes/live.h"

/* Who asks. */
typedef struct Sender
{
	char	   *store;			/* this store's uuid */
	char	   *name;			/* for people */
	int64		incarnation;
	int64		below_incarnation;	/* all movements before that and the next have finished; 0: nothing is said of it */
	int64		below;
} Sender;

/* Who answers. */
typedef struct Answerer
{
	char	   *store;
	char	   *system_identifier;
	int64		timeline;
	XLogRecPtr	lsn;
} Answerer;

extern void pointstore_begin_call(StringInfo call, const Sender *sender);
extern void pointstore_add_message(StringInfo call, const LiveStep *step, MovementVerb verb);
extern void pointstore_end_call(StringInfo call);
extern Jsonb *pointstore_parse_answer(const char *json);
extern bool pointstore_read_answers(const char *json, Answerer *answerer, LiveAnswer *answers, int n);

#endif							/* POINTSTORE_DISPATCH_H */
