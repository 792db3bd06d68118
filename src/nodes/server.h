/*-------------------------------------------------------------------------
 *
 * src/nodes/server.h
 *		Foreign servers of the wrapper pointstore: how one is connected to.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_SERVER_H
#define POINTSTORE_SERVER_H

#include "fmgr.h"

/* What libpq is told, and what has to be true of the connection then. */
typedef struct ServerAddress
{
	const char **keywords;		/* NULL after the last */
	const char **values;
	bool		needs_password; /* the server there must have asked for the password given */
	int			timeout;		/* ms, for which a connection is waited for */
} ServerAddress;

extern ServerAddress *pointstore_server_address(const char *name, Oid owner);
extern bool pointstore_server_exists(const char *name);
extern bool pointstore_same_address(const ServerAddress *a, const ServerAddress *b);
extern uint64 pointstore_servers_generation(void);

#endif							/* POINTSTORE_SERVER_H */
