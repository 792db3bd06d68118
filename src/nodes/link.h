/*-------------------------------------------------------------------------
 *
 * src/nodes/link.h
 *		A connection to another server that never blocks.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_LINK_H
#define POINTSTORE_LINK_H

#include "datatype/timestamp.h"
#include "nodes/server.h"
#include "port.h"

typedef struct Link Link;

typedef enum LinkState
{
	LINK_CLOSED,				/* error says why, where it was open before */
	LINK_OPENING,
	LINK_READY,
	LINK_BUSY
} LinkState;

/* A statement of a batch; each is followed by a sync, which ends its transaction where it has begun none. */
typedef struct LinkStatement
{
	const char *sql;
	const char *parameter;		/* $1, as text; NULL: none */
	bool		joined;			/* the next one is of the same transaction: no sync between them */
	bool		commits;		/* by itself, as COMMIT PREPARED does: a WARNING before its result is the commit's, too */
	/* what came of it */
	bool		succeeded;		/* and its sync has come, without a WARNING from the commit */
	char	   *value;			/* first column of the first row; NULL: none */
	char		sqlstate[6];	/* "": there was no error */
	char	   *error;
} LinkStatement;

extern Link *pointstore_link_new(void);
extern void pointstore_link_free(Link *link);
extern void pointstore_link_open(Link *link, const ServerAddress *address);
extern void pointstore_link_send(Link *link, LinkStatement *statements, int n, long timeout);
extern bool pointstore_link_poll(Link *link);
extern void pointstore_link_close(Link *link, const char *error);
extern LinkState pointstore_link_state(const Link *link);
extern bool pointstore_link_is_in_transaction(const Link *link);
extern const char *pointstore_link_error(const Link *link);
extern pgsocket pointstore_link_socket(const Link *link);
extern uint32 pointstore_link_events(const Link *link);
extern TimestampTz pointstore_link_due(const Link *link);
extern uint64 pointstore_link_changes(void);

#endif							/* POINTSTORE_LINK_H */
