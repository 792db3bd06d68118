/*-------------------------------------------------------------------------
 *
 * src/verify/disagreement.h
 *		Findings about movements.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_VERIFY_DISAGREEMENT_H
#define POINTSTORE_VERIFY_DISAGREEMENT_H

#include "datatype/timestamp.h"

/* What is wrong with a step of a movement. */
typedef struct Disagreement
{
	text	   *movement_id;
	int			step;			/* 0: the movement itself */
	const char *server;			/* whose store says something else; "": this one */
	const char *code;			/* one of OF_MOVEMENTS() */
	const char *severity;
	int64		expected;		/* what was to be applied there, minor units */
	int64		found;
	bool		no_expected;
	bool		no_found;
	Datum		detail;			/* jsonb object */
	TimestampTz since;			/* what was found before is older than this pass */
} Disagreement;

extern bool pointstore_record_disagreement(const Disagreement *wrong);
extern void pointstore_resolve_disagreements(const char *server, TimestampTz since);
extern bool pointstore_acknowledge_disagreement(int64 finding, text *reason, Oid role);
extern void pointstore_refuse_disagreement(int64 finding);

#endif							/* POINTSTORE_VERIFY_DISAGREEMENT_H */
