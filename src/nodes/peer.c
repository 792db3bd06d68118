/*-------------------------------------------------------------------------
 *
 * src/nodes/peer.c
 *		Peers: other stores, by their foreign servers, as the coordinator has to do with them: what is to be asked of each, the
 *		connections to it, whether it answers, and what was last heard of it.
 *
 * A peer has up to pointstore.movement_connections links, each with one round trip under way at most. A second one is
 * opened when the first is busy and a whole batch is waiting. What is to be asked of it waits in its queue and in no
 * other's: a store that is slow, or gone, delays what is asked of it, and nothing else.
 *
 * A round trip that fails pauses its peer, longer each time, up to seconds; then one more is tried. Its queue is not
 * touched meanwhile. An error that blames the messages makes the batches smaller, so that one which does harm
 * ends alone, with a pause of its own.
 *
 * Who answers is compared with who answered before, which stands in movement_server. Another store is not accepted. Where it is
 * the same store on another timeline, in another cluster, or at an earlier place in its WAL than it had told before the round trip began, it was
 * restored or has failed over: what was known of undecided steps there is forgotten, and the row says since when reconcile_movements()
 * has to compare all of them. The place is written down every ten seconds only: no row is written for each answer.
 *
 * Prepared transactions of ours there are listed when a peer is first connected, and from time to time where there are
 * some. Those of movements under way are ended by these. Those of movements that have finished hold nothing and
 * are rolled back. Others are of movements that this store does not have: they are not touched, a WARNING tells of each. What
 * was told of is not judged again.
 *
 * Addresses are looked up in a step, since that reads the catalogs; passwords stay in the memory of their peer.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "ground/sql.h"
#include "ground/step.h"
#include "ground/store.h"
#include "nodes/dispatch.h"
#include "nodes/peer.h"
#include "nodes/prepared.h"

#define MAX_CONNECTIONS 16
#define FIRST_PAUSE 50			/* ms, after a failure; twice as long after each further one */
#define LONGEST_PAUSE 2000
#define SWEEP_INTERVAL 30000	/* ms, between two looks at prepared transactions, where there are some */
#define WRITE_INTERVAL 10000	/* ms, between two rows that say no more than the place in the WAL, and after one that could not be written */
#define MOST_SWEPT 10000		/* prepared transactions that are looked at, as one sweep lists them */
#define IDLE_LIMIT 600000		/* ms, after which a connection without work is closed */

/* A connection, and what is under way on it. */
typedef struct Line
{
	Link	   *link;
	Trip	   *trip;			/* NULL: none */
	XLogRecPtr	lsn;			/* what was known of its place when that was sent */
	TimestampTz since;			/* without work */
	bool		is_old;			/* leads to where its store was: closed when its trip is back */
} Line;

typedef struct Peer
{
	StepQueue	queue;			/* first */
	char	   *name;
	MemoryContext context;
	/* where it is */
	ServerAddress *address;		/* NULL: not known */
	MemoryContext address_context;
	MemoryContext former_context;	/* of the address before */
	uint64		generation;		/* of the catalogs, when it was looked up */
	bool		looked_up;
	bool		is_gone;		/* there is no such server */
	/* whether it answers */
	Line		lines[MAX_CONNECTIONS];
	int			nlines;
	int			failures;
	TimestampTz paused_until;
	int			most;			/* messages of the next batch; 0: as many as may be */
	char	   *error;
	/* what was heard */
	char	   *store;
	char	   *system_identifier;
	int64		timeline;
	XLogRecPtr	lsn;
	TimestampTz answered_at;
	TimestampTz reopened_at;
	TimestampTz written_at;
	bool		is_known;		/* its row was read */
	bool		has_changed;	/* its row is to be written now */
	TimestampTz write_after;	/* but not before, where it could not be */
	/* prepared transactions */
	bool		prepares;		/* some of ours were, or may be */
	TimestampTz swept_at;
	List	   *swept;			/* names that are to be looked at */
	List	   *rollbacks;		/* those of nothing */
	HTAB	   *reported;		/* those that were told of, as texts */
} Peer;

/* What a check of an answer is about. */
typedef struct Heard
{
	LiveSet    *set;
	Peer	   *peer;
	Line	   *line;
} Heard;

static List *peers = NIL;
static MemoryContext peers_context = NULL;

static bool poll_line(LiveSet *set, Peer *peer, Line *line);
static void take_closed(LiveSet *set, Peer *peer, Line *line);
static void take_trip(LiveSet *set, Peer *peer, Line *line);
static void note_answer(Peer *peer);
static void note_failure(Peer *peer, const char *error);
static bool accept_answerer(void *arg, const Answerer *answerer);
static void reopen(LiveSet *set, Peer *peer);
static void keep(Peer *peer, char **kept, const char *value);
static void send_to(LiveSet *set, Peer *peer, const Sender *sender, const PeerLimits *limits);
static Line *free_line(Peer *peer, const PeerLimits *limits);
static bool is_sweep_due(const Peer *peer, TimestampTz now);
static bool needs_address(const Peer *peer);
static bool look_up(void *arg);
static void read_row(Peer *peer);
static bool is_row_due(const Peer *peer, TimestampTz now);
static void write_if_free(Peer *peer, TimestampTz now);
static bool try_to_write(void *arg);
static void write_row(Peer *peer);
static void take_swept(Peer *peer, const char *names);
static void judge_swept(Peer *peer, const Sender *sender);
static bool is_reported(const Peer *peer, const char *gid);
static void report_stranger(Peer *peer, const char *gid);

void
pointstore_peers_begin(void)
{
	peers_context = AllocSetContextCreate(TopMemoryContext, "pointstore peers", ALLOCSET_DEFAULT_SIZES);
	peers = NIL;
}

/* Closes all connections. What was under way is asked again. */
void
pointstore_peers_end(LiveSet *set)
{
	ListCell   *cell;
	int			i;

	foreach(cell, peers)
	{
		Peer	   *peer = lfirst(cell);

		for (i = 0; i < peer->nlines; i++)
		{
			pointstore_link_free(peer->lines[i].link);
			if (peer->lines[i].trip != NULL)
				pointstore_trip_end(set, peer->lines[i].trip);
		}
	}
	MemoryContextDelete(peers_context);
	peers = NIL;
}

/* The queue of a server's store. */
StepQueue *
pointstore_peer_queue(const char *server)
{
	MemoryContext old;
	Peer	   *peer;
	ListCell   *cell;

	foreach(cell, peers)
		if (strcmp(((Peer *) lfirst(cell))->name, server) == 0)
			return &((Peer *) lfirst(cell))->queue;
	old = MemoryContextSwitchTo(peers_context);
	peer = palloc0(sizeof(Peer));
	pointstore_steps_begin(&peer->queue);
	peer->name = pstrdup(server);
	peer->context = AllocSetContextCreate(peers_context, "pointstore peer", ALLOCSET_SMALL_SIZES);
	peer->reported = pointstore_text_table("pointstore reported transactions", sizeof(text *), peer->context);
	peers = lappend(peers, peer);
	MemoryContextSwitchTo(old);
	return &peer->queue;
}

/* Takes what has come, without waiting. Whether something has. */
bool
pointstore_peers_poll(LiveSet *set)
{
	bool		moved = false;
	ListCell   *cell;
	int			i;

	foreach(cell, peers)
	{
		Peer	   *peer = lfirst(cell);

		for (i = 0; i < peer->nlines; i++)
			moved |= poll_line(set, peer, &peer->lines[i]);
	}
	return moved;
}

static bool
poll_line(LiveSet *set, Peer *peer, Line *line)
{
	MemoryContext old;
	bool		polled;

	if (pointstore_link_state(line->link) == LINK_CLOSED)
		return false;
	old = MemoryContextSwitchTo(peer->context);
	MemoryContextSwitchTo(line->trip != NULL ? pointstore_trip_context(line->trip) : old);
	polled = pointstore_link_poll(line->link);
	MemoryContextSwitchTo(old);
	if (!polled)
		return false;
	line->since = GetCurrentTimestamp();
	if (pointstore_link_state(line->link) == LINK_CLOSED)
		take_closed(set, peer, line);
	else if (line->trip != NULL)
		take_trip(set, peer, line);
	if ((line->is_old && pointstore_link_state(line->link) != LINK_BUSY) || pointstore_link_is_in_transaction(line->link))
	{
		pointstore_link_close(line->link, NULL);
		line->is_old = false;
	}
	return true;
}

/* A line that was lost; what was under way on it is asked again. One that had nothing to do may go. */
static void
take_closed(LiveSet *set, Peer *peer, Line *line)
{
	if (line->trip != NULL || peer->queue.n > 0)
		note_failure(peer, pointstore_link_error(line->link));
	if (line->trip != NULL)
		pointstore_trip_end(set, line->trip);
	line->trip = NULL;
}

/* A round trip has come back. */
static void
take_trip(LiveSet *set, Peer *peer, Line *line)
{
	Trip	   *trip = line->trip;
	Heard		heard = {.set = set, .peer = peer, .line = line};
	TripResult	result;

	line->trip = NULL;
	pointstore_trip_take(set, trip, accept_answerer, &heard, &result);
	if (result.is_answered)
		note_answer(peer);
	else if (result.error != NULL && !result.blames_messages)
		note_failure(peer, result.error);
	if (result.error != NULL && result.blames_messages)
		peer->most = Max(1, pointstore_trip_size(trip) / 2);
	else if (result.is_answered && peer->most > 0)
		peer->most = 2 * peer->most > 1000 ? 0 : 2 * peer->most;
	if (result.swept != NULL)
		take_swept(peer, result.swept);
	pointstore_trip_end(set, trip);
}

static void
note_answer(Peer *peer)
{
	if (peer->failures > 0 || peer->error != NULL)
		peer->has_changed = true;
	peer->failures = 0;
	peer->paused_until = 0;
	peer->answered_at = GetCurrentTimestamp();
	keep(peer, &peer->error, NULL);
}

/* It is left alone for a while. */
static void
note_failure(Peer *peer, const char *error)
{
	int64		pause = Min((int64) FIRST_PAUSE << Min(peer->failures, 20), LONGEST_PAUSE);

	peer->failures++;
	peer->paused_until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), pause / 2 + random() % (pause / 2 + 1));
	if (error == NULL)
		error = "the connection was lost";
	/* a row for the first failure and for each other reason, and then now and then */
	if (peer->error == NULL || strcmp(peer->error, error) != 0 || (peer->failures & (peer->failures - 1)) == 0)
	{
		peer->has_changed = true;
		if (peer->error == NULL || strcmp(peer->error, error) != 0)
			ereport(LOG,
					(errmsg("server \"%s\" does not take messages: %s", peer->name, error)));
	}
	keep(peer, &peer->error, error);
}

/* Whether an answer is of the store that was asked; notes who and where it is. */
static bool
accept_answerer(void *arg, const Answerer *answerer)
{
	Heard	   *heard = arg;
	Peer	   *peer = heard->peer;

	if (peer->store != NULL && strcmp(peer->store, answerer->store) != 0)
	{
		note_failure(peer, psprintf("55000: another store answers than before: %s", answerer->store));
		peer->is_known = false; /* who has meant that deletes the row */
		return false;
	}
	if (peer->system_identifier != NULL &&
		(strcmp(peer->system_identifier, answerer->system_identifier) != 0 || peer->timeline != answerer->timeline || answerer->lsn < heard->line->lsn))
		reopen(heard->set, peer);
	peer->has_changed |= peer->store == NULL || peer->timeline != answerer->timeline;
	if (peer->store == NULL)
		keep(peer, &peer->store, answerer->store);
	if (peer->system_identifier == NULL || strcmp(peer->system_identifier, answerer->system_identifier) != 0)
		keep(peer, &peer->system_identifier, answerer->system_identifier);
	peer->timeline = answerer->timeline;
	peer->lsn = Max(peer->lsn, answerer->lsn);
	return true;
}

/* It has lost something, perhaps. */
static void
reopen(LiveSet *set, Peer *peer)
{
	int			i;

	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the store of server \"%s\" was restored or has failed over", peer->name),
			 errhint("SELECT * FROM pointstore.reconcile_movements('%s');", peer->name)));
	peer->reopened_at = GetCurrentTimestamp();
	peer->has_changed = true;
	peer->lsn = 0;
	for (i = 0; i < peer->nlines; i++)
		peer->lines[i].lsn = 0;
	pointstore_lives_forget(set, &peer->queue);
}

/* A text in the peer's memory, in the place of another. */
static void
keep(Peer *peer, char **kept, const char *value)
{
	char	   *copy = value == NULL ? NULL : MemoryContextStrdup(peer->context, value);

	if (*kept != NULL)
		pfree(*kept);
	*kept = copy;
}

/* Sends what waits, wherever there is a line for it, and opens and closes these. */
void
pointstore_peers_send(LiveSet *set, const Sender *sender, const PeerLimits *limits)
{
	TimestampTz now = GetCurrentTimestamp();
	ListCell   *cell;
	int			i;

	foreach(cell, peers)
	{
		Peer	   *peer = lfirst(cell);

		if (peer->is_gone && peer->queue.n > 0)
			pointstore_steps_refuse(set, &peer->queue, peer->name);
		else if (peer->address != NULL && peer->looked_up && peer->is_known && now >= peer->paused_until)
			send_to(set, peer, sender, limits);
		for (i = 0; i < peer->nlines; i++)
			if (pointstore_link_state(peer->lines[i].link) == LINK_READY && peer->lines[i].trip == NULL && peer->queue.n == 0 &&
				TimestampDifferenceExceeds(peer->lines[i].since, now, IDLE_LIMIT))
				pointstore_link_close(peer->lines[i].link, NULL);
	}
}

static void
send_to(LiveSet *set, Peer *peer, const Sender *sender, const PeerLimits *limits)
{
	TimestampTz now = GetCurrentTimestamp();
	Line	   *line;

	while (peer->queue.n > 0 && (line = free_line(peer, limits)) != NULL)
	{
		if (pointstore_link_state(line->link) == LINK_CLOSED)
		{
			pointstore_link_open(line->link, peer->address);
			if (pointstore_link_state(line->link) == LINK_CLOSED)
				note_failure(peer, pointstore_link_error(line->link));
			return;
		}
		line->trip = pointstore_trip_make(set, &peer->queue, sender, peer->most > 0 ? Min(peer->most, limits->batch) : limits->batch);
		peer->prepares |= pointstore_trip_prepares(line->trip);
		pointstore_trip_add_rollbacks(line->trip, peer->rollbacks);
		list_free_deep(peer->rollbacks);
		peer->rollbacks = NIL;
		if (is_sweep_due(peer, now))
		{
			pointstore_trip_add_sweep(line->trip, sender);
			peer->swept_at = now;
		}
		line->lsn = peer->lsn;
		pointstore_trip_send(line->trip, line->link, limits->timeout);
		if (pointstore_link_state(line->link) == LINK_CLOSED)
		{
			take_closed(set, peer, line);
			return;
		}
	}
}

/* A line that is ready, or closed and to be opened now; NULL: there is none. */
static Line *
free_line(Peer *peer, const PeerLimits *limits)
{
	Line	   *closed = NULL;
	int			working = 0;
	int			i;

	for (i = 0; i < peer->nlines; i++)
	{
		LinkState	state = pointstore_link_state(peer->lines[i].link);

		if (state == LINK_READY && peer->lines[i].trip == NULL)
			return &peer->lines[i];
		if (state == LINK_OPENING)
			return NULL;
		if (state == LINK_CLOSED)
			closed = &peer->lines[i];
		else
			working++;
	}
	/* one more where a whole batch waits, and only where the others do their work */
	if (working >= Min(limits->connections, MAX_CONNECTIONS) || (working > 0 && (peer->queue.n < limits->batch || peer->failures > 0)))
		return NULL;
	if (closed == NULL && peer->nlines < MAX_CONNECTIONS)
	{
		closed = &peer->lines[peer->nlines++];
		closed->link = pointstore_link_new();
	}
	return closed;
}

/* At first, then where there are some, now and then. */
static bool
is_sweep_due(const Peer *peer, TimestampTz now)
{
	return peer->swept_at == 0 || (peer->prepares && TimestampDifferenceExceeds(peer->swept_at, now, SWEEP_INTERVAL));
}

/* Whether something of a peer is to be read or written in the store. */
bool
pointstore_peers_want_step(void)
{
	TimestampTz now = GetCurrentTimestamp();
	ListCell   *cell;

	foreach(cell, peers)
	{
		Peer	   *peer = lfirst(cell);

		if (((needs_address(peer) || !peer->is_known) && peer->queue.n > 0 && now >= peer->paused_until) || is_row_due(peer, now) || peer->swept != NIL)
			return true;
	}
	return false;
}

static bool
needs_address(const Peer *peer)
{
	return !peer->looked_up || peer->generation != pointstore_servers_generation();
}

/* What is to be read or written of peers, in a step, as the owner, inside an SPI connection. */
void
pointstore_peers_step(const Sender *sender)
{
	TimestampTz now = GetCurrentTimestamp();
	ListCell   *cell;

	foreach(cell, peers)
	{
		Peer	   *peer = lfirst(cell);

		if (!peer->is_known)
			read_row(peer);
		/* where that has failed it is looked up again for what waits, or when the catalogs have changed */
		if (needs_address(peer) && now >= peer->paused_until &&
			(peer->queue.n > 0 || peer->generation != pointstore_servers_generation()))
		{
			ErrorData  *error = pointstore_attempt(look_up, peer);

			if (error != NULL)
				note_failure(peer, psprintf("%s: %s", unpack_sql_state(error->sqlerrcode), error->message));
			peer->is_gone = error != NULL && error->sqlerrcode == ERRCODE_UNDEFINED_OBJECT && !pointstore_server_exists(peer->name);
		}
		if (peer->swept != NIL)
			judge_swept(peer, sender);
		if (is_row_due(peer, now))
			write_if_free(peer, now);
	}
}

/*
 * Where it is, as the store's owner, who the session is. Lines to where it was are closed when they have no work. Where
 * that fails nothing is known of it, and nothing sent.
 */
static bool
look_up(void *arg)
{
	Peer	   *peer = arg;
	ServerAddress *before = peer->address;
	ServerAddress *address;
	MemoryContext old;
	int			i;

	if (peer->former_context != NULL)
		MemoryContextDelete(peer->former_context);
	peer->former_context = peer->address_context;
	peer->address_context = AllocSetContextCreate(peer->context, "pointstore address", ALLOCSET_SMALL_SIZES);
	peer->address = NULL;
	peer->looked_up = false;
	peer->generation = pointstore_servers_generation();
	old = MemoryContextSwitchTo(peer->address_context);
	address = pointstore_server_address(peer->name, GetUserId());
	MemoryContextSwitchTo(old);
	for (i = 0; i < peer->nlines && (before == NULL || !pointstore_same_address(before, address)); i++)
		if (pointstore_link_state(peer->lines[i].link) == LINK_BUSY)
			peer->lines[i].is_old = true;
		else
			pointstore_link_close(peer->lines[i].link, NULL);
	peer->address = address;
	peer->looked_up = true;
	return true;
}

/* What was heard before the coordinator began. */
static void
read_row(Peer *peer)
{
	static PointstorePlan plan = {
		.sql = "SELECT s.store, s.system_identifier, CAST(s.timeline AS pg_catalog.int4), CAST(s.lsn AS pg_catalog.pg_lsn),"
		" CAST(s.answered_at AS pg_catalog.timestamptz), CAST(s.reopened_at AS pg_catalog.timestamptz)"
		" FROM pointstore.movement_server s WHERE s.server" EQ "$1",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(peer->name);
	bool		isnull;

	pointstore_execute_rules(&plan, &value, NULL, false);
	peer->is_known = true;
	if (SPI_processed == 0)
	{
		keep(peer, &peer->store, NULL);
		keep(peer, &peer->system_identifier, NULL);
		return;
	}
	keep(peer, &peer->store, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	keep(peer, &peer->system_identifier, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2));
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &isnull);
	peer->timeline = isnull ? 0 : DatumGetInt32(value);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 4, &isnull);
	peer->lsn = isnull ? InvalidXLogRecPtr : DatumGetLSN(value);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 5, &isnull);
	peer->answered_at = isnull ? 0 : DatumGetTimestampTz(value);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 6, &isnull);
	peer->reopened_at = isnull ? 0 : DatumGetTimestampTz(value);
}

static bool
is_row_due(const Peer *peer, TimestampTz now)
{
	return now >= peer->write_after &&
		(peer->has_changed || (peer->answered_at > peer->written_at && TimestampDifferenceExceeds(peer->written_at, now, WRITE_INTERVAL)));
}

/* Another session may have the row, and its owner's triggers may fail: that holds up nobody, and is tried again. */
static void
write_if_free(Peer *peer, TimestampTz now)
{
	ErrorData  *error = pointstore_attempt(try_to_write, peer);

	if (error == NULL)
		return;
	peer->write_after = TimestampTzPlusMilliseconds(now, WRITE_INTERVAL);
	ereport(LOG,
			(errcode(error->sqlerrcode),
			 errmsg("what was heard of server \"%s\" is not written yet: %s", peer->name, error->message)));
}

static bool
try_to_write(void *arg)
{
	PointstoreScope scope;

	pointstore_act_as_verifier(&scope);
	pointstore_set_option("lock_timeout", "50ms");
	write_row(arg);
	pointstore_act_as_caller(&scope);
	return true;
}

/* reopened_at is taken away by others: only one that is later than theirs is written. */
static void
write_row(Peer *peer)
{
	static PointstorePlan plan = {
		.sql = "INSERT INTO pointstore.movement_server AS s (server, store, system_identifier, timeline, lsn, failures, paused_until, error, answered_at, reopened_at)"
		" VALUES ($1, CAST($2 AS pg_catalog.uuid), $3, $4, $5, $6, $7, $8, $9, $10)"
		" ON CONFLICT (server) DO UPDATE SET store = EXCLUDED.store, system_identifier = EXCLUDED.system_identifier, timeline = EXCLUDED.timeline,"
		" lsn = EXCLUDED.lsn, failures = EXCLUDED.failures, paused_until = EXCLUDED.paused_until, error = EXCLUDED.error,"
		" answered_at = EXCLUDED.answered_at, reopened_at = coalesce(EXCLUDED.reopened_at, s.reopened_at)",
		.nargs = 10, .argtypes = {TEXTOID, TEXTOID, TEXTOID, INT4OID, LSNOID, INT4OID, TIMESTAMPTZOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID},
		.spans_nodes = true
	};
	char		nulls[] = "          ";
	Datum		values[10];

	values[0] = CStringGetTextDatum(peer->name);
	values[1] = peer->store != NULL ? CStringGetTextDatum(peer->store) : 0;
	nulls[1] = peer->store != NULL ? ' ' : 'n';
	values[2] = peer->system_identifier != NULL ? CStringGetTextDatum(peer->system_identifier) : 0;
	nulls[2] = peer->system_identifier != NULL ? ' ' : 'n';
	values[3] = Int32GetDatum((int32) peer->timeline);
	nulls[3] = peer->timeline != 0 ? ' ' : 'n';
	values[4] = LSNGetDatum(peer->lsn);
	nulls[4] = peer->lsn != 0 ? ' ' : 'n';
	values[5] = Int32GetDatum(peer->failures);
	values[6] = TimestampTzGetDatum(peer->paused_until);
	nulls[6] = peer->failures > 0 ? ' ' : 'n';
	values[7] = peer->error != NULL ? CStringGetTextDatum(peer->error) : 0;
	nulls[7] = peer->error != NULL ? ' ' : 'n';
	values[8] = TimestampTzGetDatum(peer->answered_at);
	nulls[8] = peer->answered_at != 0 ? ' ' : 'n';
	values[9] = TimestampTzGetDatum(peer->reopened_at);
	nulls[9] = peer->reopened_at > peer->written_at ? ' ' : 'n';
	pointstore_execute(&plan, values, nulls, false);
	peer->written_at = GetCurrentTimestamp();
	peer->has_changed = false;
}

/* Names of prepared transactions of ours, as a JSON array. They are looked at in the next step. */
static void
take_swept(Peer *peer, const char *names)
{
	Jsonb	   *array = pointstore_parse_answer(names);
	MemoryContext old = MemoryContextSwitchTo(peer->context);
	int			i;

	for (i = 0; array != NULL && JB_ROOT_IS_ARRAY(array) && i < Min(JB_ROOT_COUNT(array), MOST_SWEPT); i++)
	{
		JsonbValue *name = getIthJsonbValueFromContainer(&array->root, i);

		if (name->type == jbvString)
			peer->swept = lappend(peer->swept, pnstrdup(name->val.string.val, name->val.string.len));
	}
	peer->prepares = peer->swept != NIL;
	MemoryContextSwitchTo(old);
}

/* Those of movements that have finished are rolled back, those of none that is known are told; what was told of is passed over. */
static void
judge_swept(Peer *peer, const Sender *sender)
{
	List	   *swept = peer->swept;
	List	   *unjudged = NIL;
	List	   *strangers = NIL;
	List	   *finished = NIL;
	MemoryContext old;
	ListCell   *cell;

	peer->swept = NIL;
	/* a distributed store prepares nothing */
	foreach(cell, swept)
		if (!pointstore_is_distributed() && !is_reported(peer, lfirst(cell)))
			unjudged = lappend(unjudged, lfirst(cell));
	pointstore_judge_prepared(unjudged, sender, &strangers, &finished);
	foreach(cell, strangers)
		report_stranger(peer, lfirst(cell));
	old = MemoryContextSwitchTo(peer->context);
	foreach(cell, finished)
		peer->rollbacks = lappend(peer->rollbacks, pstrdup(lfirst(cell)));
	MemoryContextSwitchTo(old);
	list_free_deep(swept);
}

/* Whether a WARNING has told of it. */
static bool
is_reported(const Peer *peer, const char *gid)
{
	text	   *name = cstring_to_text(gid);

	return hash_search(peer->reported, &name, HASH_FIND, NULL) != NULL;
}

/* Once each: of a movement that this store does not have. */
static void
report_stranger(Peer *peer, const char *gid)
{
	MemoryContext old;
	text	   *name;

	if (is_reported(peer, gid))
		return;
	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("server \"%s\" has a prepared transaction of a movement that this store does not have: %s", peer->name, gid),
			 errdetail("It is not touched. This store was restored, or the movement's row is gone."),
			 errhint("SELECT * FROM pointstore.reconcile_movements('%s');", peer->name)));
	old = MemoryContextSwitchTo(peer->context);
	name = cstring_to_text(gid);
	(void) hash_search(peer->reported, &name, HASH_ENTER, NULL);
	MemoryContextSwitchTo(old);
}

/* When something is to be done, whatever comes: a round trip is over, a pause ends. */
TimestampTz
pointstore_peers_due(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz due = DT_NOEND;
	ListCell   *cell;
	int			i;

	foreach(cell, peers)
	{
		Peer	   *peer = lfirst(cell);
		TimestampTz line = DT_NOEND;

		for (i = 0; i < peer->nlines; i++)
			line = Min(line, pointstore_link_due(peer->lines[i].link));
		due = Min(due, line);
		/* when that is over, and a line at work, it is that line that is waited for */
		if (peer->queue.n > 0 && peer->failures > 0 && (line == DT_NOEND || peer->paused_until > now))
			due = Min(due, peer->paused_until);
	}
	return due;
}

/* Whether anything is under way, can be sent without a pause before, or is to be written. */
bool
pointstore_peers_are_busy(void)
{
	ListCell   *cell;
	int			i;

	foreach(cell, peers)
	{
		Peer	   *peer = lfirst(cell);

		if ((peer->queue.n > 0 && peer->failures == 0) || is_row_due(peer, GetCurrentTimestamp()))
			return true;
		for (i = 0; i < peer->nlines; i++)
			if (pointstore_link_due(peer->lines[i].link) != DT_NOEND)
				return true;
	}
	return false;
}

/* How many sockets there are to wait for. */
int
pointstore_peers_links(void)
{
	int			n = 0;
	ListCell   *cell;

	foreach(cell, peers)
		n += ((Peer *) lfirst(cell))->nlines;
	return n;
}

/* Adds them. */
void
pointstore_peers_await(WaitEventSet *events)
{
	ListCell   *cell;
	int			i;

	foreach(cell, peers)
	{
		Peer	   *peer = lfirst(cell);

		for (i = 0; i < peer->nlines; i++)
		{
			pgsocket	socket = pointstore_link_socket(peer->lines[i].link);

			if (socket != PGINVALID_SOCKET)
				(void) AddWaitEventToSet(events, pointstore_link_events(peer->lines[i].link), socket, NULL, NULL);
		}
	}
}
