/*-------------------------------------------------------------------------
 *
 * src/feed/standing.c
 *		How the feed stands: what the view feed_status shows.
 *
 * Below the last block's settled_below nothing is missing, so only ids from there on are
 * looked at: those between the ranges of the blocks, and above them. Where nothing waits, that is nothing.
 *
 * What transactions are open is asked as the bootstrap superuser, of PostgreSQL's own views alone: who may read this view
 * need not be allowed to see what others do, but sees which of them the feed waits for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "feed/sequence.h"
#include "feed/signal.h"
#include "feed/whose.h"
#include "ground/identity.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/sql.h"
#include "ground/store.h"
#include "verify/index.h"

PG_FUNCTION_INFO_V1(pointstore_feed_state);
PG_FUNCTION_INFO_V1(pointstore_feed_states);

enum
{
	HEAD, SEQUENCED_AT, UNSEQUENCED, OLDEST, GAPS, OPEN_SINCE, OPEN_PID, OPEN_GID, ALIVE, SHARD, N_FIGURES
};

typedef struct Figures
{
	Datum		value[N_FIGURES];
	bool		isnull[N_FIGURES];
} Figures;

/* How many ids of the sequence are not above x. */
#define DRAWN_UP_TO(x) "pg_catalog.floor((" NUMERIC(x) MINUS "d.last) OPERATOR(pg_catalog./) d.step)"

static Datum state_here(FunctionCallInfo fcinfo);
static Datum put_state(FunctionCallInfo fcinfo);
static void read_figures(Figures *figures);
static void read_blocks(Figures *figures);
static void read_waiting(Figures *figures);
static void read_writer(Figures *figures);
static void take(Figures *figures, int figure, int column);

/* feed_state(): one row, of a store that is not distributed. */
Datum
pointstore_feed_state(PG_FUNCTION_ARGS)
{
	return pointstore_call_of_feed(fcinfo, 1, state_here);
}

static Datum
state_here(FunctionCallInfo fcinfo)
{
	Figures		figures;
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	read_figures(&figures);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), figures.value, figures.isnull)));
}

/* feed_states(): a row for each shard of a distributed store. */
Datum
pointstore_feed_states(PG_FUNCTION_ARGS)
{
	pointstore_materialize(fcinfo);
	if (PG_NARGS() > 0)
		return pointstore_call_of_feed(fcinfo, 1, put_state);
	if (pointstore_is_distributed())
		pointstore_call_of_each_shard(fcinfo, put_state);
	return (Datum) 0;
}

static Datum
put_state(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Figures		figures;

	read_figures(&figures);
	figures.value[SHARD] = Int64GetDatum(pointstore_shard_here());
	figures.isnull[SHARD] = false;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, figures.value, figures.isnull);
	return (Datum) 0;
}

static void
read_figures(Figures *figures)
{
	PointstoreScope scope;

	memset(figures->value, 0, sizeof(figures->value));
	memset(figures->isnull, true, sizeof(figures->isnull));
	pointstore_act_as_verifier(&scope);
	read_blocks(figures);
	if (pointstore_is_sequenced())
		read_waiting(figures);
	pointstore_act_as_caller(&scope);
	/* who writes on the primary does not show on a standby */
	figures->isnull[GAPS] |= RecoveryInProgress();
	if (!figures->isnull[GAPS])
		read_writer(figures);
	figures->value[ALIVE] = BoolGetDatum(pointstore_sequencer_is_alive());
	figures->isnull[ALIVE] = false;
}

static void
read_blocks(Figures *figures)
{
	static PointstorePlan plan = {
		.sql = "SELECT coalesce(CAST(l.last_position AS pg_catalog.int8), 0), CAST(l.at AS pg_catalog.timestamptz)"
		"  FROM (SELECT 1) one LEFT JOIN (SELECT last_position, at FROM pointstore.feed_block WHERE " OF_THIS_FEED " ORDER BY first_position DESC LIMIT 1) l ON true"
	};

	SPI_connect();
	pointstore_execute(&plan, NULL, NULL, true);
	take(figures, HEAD, 1);
	take(figures, SEQUENCED_AT, 2);
	SPI_finish();
}

/*
 * The events without a position, and the ranges of ids that have none and are not full of such events: what is in them
 * can still come if there is a transaction that may store it.
 */
static void
read_waiting(Figures *figures)
{
	static PointstorePlan plan = {
		.sql = "WITH l AS (SELECT CAST(ids AS pg_catalog.int8multirange) AS ids, CAST(sealed AS pg_catalog.bool) AS sealed,"
		"         CAST(settled_below AS pg_catalog.int8) AS settled_below FROM pointstore.feed_block WHERE " OF_THIS_FEED " ORDER BY first_position DESC LIMIT 1),"
		" d AS MATERIALIZED (SELECT CASE WHEN " IN_ONE_PLACE " THEN q.last_value ELSE 9223372036854775807 END AS last, CASE WHEN NOT " IN_ONE_PLACE " THEN 1 ELSE pg_catalog.gcd(pg_catalog.gcd(" NUMERIC("GREATEST(s.seqincrement, 1)") ", coalesce(f.step, 0)),"
		"           CASE WHEN f.step" GT "0 THEN coalesce(f.id, 0)" MINUS "q.last_value ELSE 0 END) END AS step,"
		"         coalesce((SELECT settled_below FROM l), CASE WHEN " IN_ONE_PLACE " THEN s.seqmin ELSE -9223372036854775807 END) AS since"
		"   FROM pointstore.event_store_id_seq q, pg_catalog.pg_sequence s,"
		"        (SELECT " NUMERIC("GREATEST(pg_catalog.max(CAST(step AS pg_catalog.int8)), 0)") " AS step, " NUMERIC("pg_catalog.max(CAST(id AS pg_catalog.int8))") " AS id FROM pointstore.feed_start) f"
		"  WHERE s.seqrelid" EQ "CAST('pointstore.event_store_id_seq' AS pg_catalog.regclass)),"
		" r AS (SELECT pg_catalog.unnest(b.ids) AS ids FROM ("
		"   SELECT CAST(s.ids AS pg_catalog.int8multirange) AS ids FROM pointstore.feed_block s"
		"    WHERE s.sealed AND s.ids OPERATOR(pg_catalog.&&) pg_catalog.int8range((SELECT since FROM d), NULL) AND " OF_THIS_FEED
		"   UNION ALL SELECT l.ids FROM l WHERE NOT coalesce(l.sealed, false)) b),"
		" bounds AS (SELECT GREATEST(pg_catalog.lower(r.ids), d.since) AS lower, pg_catalog.upper(r.ids) AS upper FROM r, d WHERE pg_catalog.upper(r.ids)" GT "d.since"
		"   UNION ALL SELECT d.since, d.since FROM d UNION ALL SELECT NULL, NULL),"
		" holes AS (SELECT pg_catalog.max(b.upper) OVER w AS first, coalesce(b.lower" MINUS "1, d.last) AS last FROM bounds b, d"
		"  WINDOW w AS (ORDER BY b.lower, b.upper ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)),"
		" seen AS (SELECT h.first, h.last, pg_catalog.count(e.id) AS n, pg_catalog.min(e.created_at) AS oldest"
		"   FROM holes h CROSS JOIN d LEFT JOIN LATERAL (SELECT v.id, v.created_at FROM pointstore.event_store v WHERE v.id" GE "h.first AND v.id" LE "h.last"
		"     AND (d.step" EQ "1 OR (" NUMERIC("v.id") MINUS "d.last) OPERATOR(pg_catalog.%) d.step" EQ "0) OFFSET 0) e ON true"
		"  WHERE h.first" LE "h.last GROUP BY h.first, h.last)"
		" SELECT coalesce(CAST(pg_catalog.sum(s.n) AS pg_catalog.int8), 0), pg_catalog.min(s.oldest),"
		"        pg_catalog.count(*) FILTER (WHERE " DRAWN_UP_TO("s.last") MINUS DRAWN_UP_TO("s.first" MINUS "1") GT "s.n)"
		"   FROM seen s, d"
	};

	pointstore_use_indexes();
	SPI_connect();
	pointstore_execute(&plan, NULL, NULL, true);
	take(figures, UNSEQUENCED, 1);
	take(figures, OLDEST, 2);
	take(figures, GAPS, 3);
	SPI_finish();
}

/* The oldest of the transactions that may still store events, but for this one; where there is none no gap is open. */
static void
read_writer(Figures *figures)
{
	static PointstorePlan plan = {
		.sql = "SELECT coalesce(x.prepared, a.xact_start), l.pid, CAST(x.gid AS pg_catalog.text) FROM pg_catalog.pg_locks l"
		" LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid" EQ "l.pid"
		" LEFT JOIN pg_catalog.pg_locks t ON l.pid IS NULL AND t.pid IS NULL AND t.locktype" EQ "'transactionid' AND t.virtualtransaction" EQ "l.virtualtransaction"
		" LEFT JOIN pg_catalog.pg_prepared_xacts x ON x.transaction" EQ "t.transactionid"
		" WHERE l.locktype" EQ "'relation' AND l.granted AND l.mode" EQ "'RowExclusiveLock' AND l.relation" EQ "CAST(CAST('pointstore.event_store' AS pg_catalog.regclass) AS pg_catalog.oid)"
		"   AND l.database" EQ "(SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname" EQ "pg_catalog.current_database())"
		"   AND (l.pid IS NULL OR l.pid" NE "pg_catalog.pg_backend_pid()) ORDER BY 1 LIMIT 1"
	};
	PointstoreScope scope;

	pointstore_act_as_restricted(BOOTSTRAP_SUPERUSERID, &scope);
	SPI_connect();
	pointstore_execute(&plan, NULL, NULL, true);
	if (SPI_processed == 0)
		figures->value[GAPS] = Int64GetDatum(0);
	else
	{
		take(figures, OPEN_SINCE, 1);
		take(figures, OPEN_PID, 2);
		take(figures, OPEN_GID, 3);
	}
	SPI_finish();
	pointstore_act_as_caller(&scope);
}

/* A column of the row that a statement has found, in memory that outlives it. */
static void
take(Figures *figures, int figure, int column)
{
	Oid			type = SPI_gettypeid(SPI_tuptable->tupdesc, column);
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &figures->isnull[figure]);

	if (!figures->isnull[figure])
		figures->value[figure] = type == TEXTOID ? SPI_datumTransfer(value, false, -1) : value;
}
