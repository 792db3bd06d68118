/*-------------------------------------------------------------------------
 *
 * src/verify/run.c
 *		Reconciliation: compares balance rows with the events, confirms what
 *		differs under the account's lock, records it as a finding, and acts by
 *		the policy of the account's kind.
 *
 * A full run reads heaps alone, so that no index can hide a row; it trusts no earlier
 * proof and no balance_after. A store that fits into one transaction is read as it is in one
 * snapshot for each pass, parallel or, in a throttled worker, by itself and with pauses; a
 * larger one is read once in many transactions (spool.c). What differs is a candidate only, which
 * is then examined (confirm.c).
 * An incremental run looks at the accounts that have had events since the last
 * one, from the version up to which each is proved.
 *
 * Which events are new is told by their ids, which are not in the order of
 * commits: an event with a smaller id may become visible later. An append
 * has a transaction id before it draws an event's id. So when the sequence is
 * read first and a transaction id is drawn afterwards, every event up to the one
 * belongs to a transaction before the other; a run that begins when none of these is
 * running sees them all, and the next run may begin after them.
 *
 * Every step is a transaction of its own. Two runs of one scope in one database exclude
 * each other by a session lock; a run whose session is gone shows as interrupted, since nobody
 * holds that lock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "account/id.h"
#include "ground/compat.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/sql.h"
#include "ground/stat.h"
#include "ground/step.h"
#include "ground/store.h"
#include "verify/across.h"
#include "verify/confirm.h"
#include "verify/digest.h"
#include "verify/finding.h"
#include "verify/index.h"
#include "verify/progress.h"
#include "verify/repair.h"
#include "verify/run.h"
#include "verify/runstate.h"
#include "verify/scan.h"

PG_FUNCTION_INFO_V1(pointstore_reconcile);

/*
 * Our locks are advisory ones, as the view reconciliation_run knows them, of a kind
 * that no function of SQL takes: nobody else can keep a run away.
 */
#define RECONCILE_LOCK 1886349678
#define RECONCILE_LOCK_KIND 3

/* slices at the most: for each there are a few files */
#define MAX_SLICES 256

#define RUNS_FORGOTTEN_AT_ONCE 1000

/* A relation of the schema whose rows come by a subscription. */
#define IS_SUBSCRIBED "FROM pg_catalog.pg_subscription_rel r JOIN pg_catalog.pg_class c ON c.oid" EQ "r.srrelid" \
" WHERE c.relnamespace" EQ "CAST('pointstore' AS pg_catalog.regnamespace)"

/* Whether an id of the checkpoint has been passed by this run's, or the sequence was set back before it. Of a shard the highest event there is tells how far it goes. */
#define IS_OVER(id) "(NOT " IN_ONE_PLACE " OR " id LE "$1 OR " id GT "(SELECT last_value FROM pointstore.event_store_id_seq))"

/* A row for a run: the plans of start_run(). */
static PointstorePlan abandon_plan = {
	.sql = "UPDATE pointstore.reconciliation SET status = 'interrupted', error = 'its session ended before it did'"
	" WHERE scope" EQ "$1 AND status" EQ "'running'",
	.nargs = 1, .argtypes = {TEXTOID}
};
static PointstorePlan resume_plan = {
	.sql = "UPDATE pointstore.reconciliation r SET status = 'running', error = NULL"
	" WHERE id" EQ "(SELECT pg_catalog.max(id) FROM pointstore.reconciliation WHERE scope" EQ "$1)"
	"   AND status" EQ "'interrupted' AND slices_done" GT "0 AND slices_done" LT "slices AND slices" LE "$4"
	"   AND " IS_OF_HERE("r")
	/* what was proved longer ago is proved anew */
	"   AND started_at" GT "(pg_catalog.clock_timestamp()" MINUS "CAST('1 day' AS pg_catalog.interval))"
	" RETURNING id, slices, slices_done, accounts_checked, events_checked, started_at, findings, unverified,"
	"   (SELECT pg_catalog.count(DISTINCT l.aggregate_id) FROM pointstore.account_log l"
	"     WHERE l.at" GE "started_at AND l.reason" EQ "'" OUR_REASON "')",
	.nargs = 4, .argtypes = {TEXTOID, TEXTOID, FLOAT8OID, INT4OID}
};
#define INSERT_RUN(columns, values) \
	"INSERT INTO pointstore.reconciliation (scope, triggered_by, slices" columns ")" \
	" SELECT $1, $2, CASE WHEN $1" EQ "'full' THEN LEAST(GREATEST(1, pg_catalog.ceil(" \
	/* never analyzed: an event takes some 150 bytes */ \
	"        CASE WHEN c.reltuples" LT "0 THEN pg_catalog.pg_relation_size(c.oid) OPERATOR(pg_catalog./) 150.0 ELSE c.reltuples END" \
	"        OPERATOR(pg_catalog./) $3)), $4) ELSE 1 END" values \
	"   FROM pg_catalog.pg_class c WHERE c.oid" EQ "CAST('pointstore.event_store' AS pg_catalog.regclass)" \
	" RETURNING id, slices, slices_done, accounts_checked, events_checked, started_at, findings, unverified," \
	"   CAST(0 AS pg_catalog.int8)"
static PointstorePlan start_plan = {
	.sql = INSERT_RUN("", ""), .nargs = 4, .argtypes = {TEXTOID, TEXTOID, FLOAT8OID, INT4OID}
};
/* of one in a shard: an id of the node's, and where it is */
static PointstorePlan start_in_shard_plan = {
	.sql = INSERT_RUN(", id, place", ", $5, $6"), .nargs = 6, .argtypes = {TEXTOID, TEXTOID, FLOAT8OID, INT4OID, INT8OID, TEXTOID}
};
/* of rows that were restored, or came from elsewhere */
static PointstorePlan pass_ids_plan = {
	.sql = "SELECT pg_catalog.setval(o.seq, o.last) FROM ("
	" SELECT CAST(pg_catalog.pg_get_serial_sequence('pointstore.reconciliation', 'id') AS pg_catalog.regclass) AS seq,"
	"        (SELECT pg_catalog.max(id) FROM pointstore.reconciliation) AS last"
	" UNION ALL SELECT CAST(pg_catalog.pg_get_serial_sequence('pointstore.finding', 'id') AS pg_catalog.regclass),"
	"        (SELECT pg_catalog.max(id) FROM pointstore.finding)) o"
	" WHERE o.last" GT "coalesce(pg_catalog.pg_sequence_last_value(o.seq), 0)"
};

/* What reconcile() is asked for, and whether it came to that. */
typedef struct RunByHand
{
	bool		full;
	bool		were;
	int64	   *id;				/* of the last */
} RunByHand;

static bool run_by_hand(bool full, int64 *id);
static void run_in_place(void *arg);
static bool lock_scope(bool full, LOCKTAG *tag);
static void run_under_lock(Run *run, const LOCKTAG *tag);
static void leave(const LOCKTAG *tag);
static void run_all(Run *run);
static void start_run(Run *run, const char *scope);
static void take_over(Run *run, HeapTuple row, TupleDesc desc);
static void require_stored(void);
static void show_size(Run *run);
static void read_horizon(Run *run);
static bool writers_end(Run *run);
static bool has_come_to_rest(const char *xmax);
static void finish_run(Run *run);
static void write_checkpoint(Run *run);
static void forget_runs(void);

/* Called once when the library is loaded. */
void
pointstore_reconcile_init(void)
{
	pointstore_runstate_init();
	pointstore_repair_init();
}

/* reconcile(scope, INOUT run_id) */
Datum
pointstore_reconcile(PG_FUNCTION_ARGS)
{
	char	   *scope = text_to_cstring(pointstore_name(fcinfo, 0, "scope"));
	bool		full = strcmp(scope, "full") == 0;
	TupleDesc	desc;
	Datum		value;
	int64		id;
	bool		isnull;

	if (!full && strcmp(scope, "incremental") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("scope must be incremental or full, is \"%s\"", scope)));
	pointstore_begin_procedure(fcinfo, "reconcile()");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	desc = BlessTupleDesc(CreateTupleDescCopy(desc));
	isnull = !run_by_hand(full, &id);
	value = Int64GetDatum(id);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, &value, &isnull)));
}

/* A run, or one for each shard here, of which the last is told. What the caller has left ends before anything of the store is looked at. */
static bool
run_by_hand(bool full, int64 *id)
{
	RunByHand	runs = {.full = full, .id = id};

	SPI_connect_ext(SPI_OPT_NONATOMIC);
	pointstore_step_through_places(run_in_place, &runs);
	SPI_finish();
	return runs.were;
}

static void
run_in_place(void *arg)
{
	RunByHand  *runs = arg;

	runs->were |= pointstore_run_reconciliation(runs->full, "manual", runs->id);
}

/*
 * One run, in transactions of its own, of the store, or of the shard that we stay in; the caller is in one that has not written.
 * False: another session is at that scope. *id is the run's as soon as it has
 * one, so that what catches an error can say so of it.
 */
bool
pointstore_run_reconciliation(bool full, const char *triggered_by, int64 *id)
{
	Run			run = {.full = full, .triggered_by = triggered_by, .reported_id = id};
	LOCKTAG		tag;

	*id = 0;
	if (!lock_scope(full, &tag))
	{
		ereport(NOTICE,
				(errmsg("another session is at a reconciliation of scope %s, this one leaves",
						full ? "full" : "incremental")));
		return false;
	}
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	run.context = CurrentMemoryContext;
	run_under_lock(&run, &tag);
	SPI_finish();
	return true;
}

/*
 * Whether nothing is done here on schedule, for the store is not whole, or not ours to write: a key or a
 * trigger is missing, as until the end of a restore; a subscription has not brought a table of it up to
 * date; what reconciliation keeps of its own comes from elsewhere, where a row of ours would be in the
 * way of the next one; or holds are to be closed and the events come from elsewhere. Told once a day.
 */
bool
pointstore_is_off_schedule(bool sweeps)
{
	static PointstorePlan plan = {
		.sql = "SELECT " IS_SUBSCRIBED " AND ($1 OR r.srsubstate" NE "'r' OR CAST(c.relname AS pg_catalog.text)" EQ
		"ANY (ARRAY['reconciliation', 'finding', 'account_proof', 'reconciliation_checkpoint'])) LIMIT 1",
		.nargs = 1, .argtypes = {BOOLOID}
	};
	Datum		value = BoolGetDatum(sweeps);
	/* what is to be swept is written, which a store that lacks anything refuses */
	bool		complete = sweeps ? pointstore_store_is_complete() : pointstore_store_is_whole();
	bool		subscribed;

	SPI_connect();
	pointstore_execute(&plan, &value, NULL, true);
	subscribed = SPI_processed > 0;
	SPI_finish();
	if ((!complete || subscribed) && pointstore_is_news(complete ? 1 : 2))
		ereport(LOG,
				(errmsg(complete ? "the store of database \"%s\" is written by a subscription, and is not reconciled or swept on schedule" :
						"the store of database \"%s\" lacks a key or a trigger, and is not reconciled or swept on schedule",
						get_database_name(MyDatabaseId))));
	return !complete || subscribed;
}

/* Takes the session lock of a scope; false when another session has it. */
static bool
lock_scope(bool full, LOCKTAG *tag)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, RECONCILE_LOCK, full ? 2 : 1, RECONCILE_LOCK_KIND);
	return LockAcquire(tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

/* The session lock is let go, no file is left and progress no longer shown, also when the run fails. */
static void
run_under_lock(Run *run, const LOCKTAG *tag)
{
	PG_TRY();
	{
		run_all(run);
	}
	PG_CATCH();
	{
		leave(tag);
		pointstore_run_forget_files(run);
		PG_RE_THROW();
	}
	PG_END_TRY();
	leave(tag);
}

static void
leave(const LOCKTAG *tag)
{
	pointstore_progress_end();
	LockRelease(tag, ExclusiveLock, true);
}

static void
run_all(Run *run)
{
	pointstore_next_step();		/* 55000 where there is no store */
	pointstore_progress_start(run->full);
	start_run(run, run->full ? "full" : "incremental");
	show_size(run);
	pointstore_digest_pause = AmBackgroundWorkerProcess() ? pointstore_run_rest : NULL;
	read_horizon(run);
	if (run->full)
		pointstore_scan_store(run);
	else
		pointstore_scan_new_events(run);
	if (run->full && pointstore_is_distributed())
		pointstore_confirm(run, text_to_cstring(pointstore_name_of_feed()), false, NULL);
	if (pointstore_stays_with(cstring_to_text("")))
	{
		pointstore_confirm(run, "", false, NULL);	/* the store as a whole */
		if (run->full && pointstore_is_distributed())
			pointstore_compare_across(run);
	}
	if (run->full)
		pointstore_look_at_clock(run);
	pointstore_examine_open_findings(run);
	finish_run(run);
	pointstore_last_step();
}

/*
 * A row for the run: a new one, or that of an interrupted full run, which goes
 * on after the slices that are done. Runs that are gone are marked so.
 */
static void
start_run(Run *run, const char *scope)
{
	Datum		values[6];
	PointstoreScope owner;

	if (!pg_strong_random(&run->key, sizeof(run->key)))
		elog(ERROR, "could not draw a random key");
	pointstore_act_as_verifier(&owner);
	pointstore_use_indexes();
	pointstore_show_shards();
	SPI_connect();
	values[0] = CStringGetTextDatum(scope);
	values[1] = CStringGetTextDatum(run->triggered_by);
	values[2] = Float8GetDatum(pointstore_reconcile_max_transaction / pointstore_run_event_time());
	values[3] = Int32GetDatum(MAX_SLICES);
	pointstore_execute(&pass_ids_plan, NULL, NULL, false);
	pointstore_execute(&abandon_plan, values, NULL, false);
	pointstore_execute(&resume_plan, values, NULL, false);
	if ((SPI_processed == 0 || !run->full) && pointstore_is_distributed())
	{
		text	   *place = pointstore_name_of_place();

		values[4] = Int64GetDatum(pointstore_draw_for_node(place));
		values[5] = PointerGetDatum(place);
		pointstore_execute(&start_in_shard_plan, values, NULL, false);
	}
	else if (SPI_processed == 0 || !run->full)
		pointstore_execute(&start_plan, values, NULL, false);
	require_stored();
	take_over(run, SPI_tuptable->vals[0], SPI_tuptable->tupdesc);
	SPI_finish();
	pointstore_act_as_caller(&owner);
	*run->reported_id = run->id;
	pointstore_run_next_step();
}

/* What the run's row says, as start_run() returns it. */
static void
take_over(Run *run, HeapTuple row, TupleDesc desc)
{
	bool		isnull;

	run->id = DatumGetInt64(SPI_getbinval(row, desc, 1, &isnull));
	run->slices = DatumGetInt32(SPI_getbinval(row, desc, 2, &isnull));
	run->slice = DatumGetInt32(SPI_getbinval(row, desc, 3, &isnull));
	run->accounts = DatumGetInt64(SPI_getbinval(row, desc, 4, &isnull));
	run->events = DatumGetInt64(SPI_getbinval(row, desc, 5, &isnull));
	run->started_at = DatumGetTimestampTz(SPI_getbinval(row, desc, 6, &isnull));
	run->findings = DatumGetInt64(SPI_getbinval(row, desc, 7, &isnull));
	run->unverified = DatumGetInt64(SPI_getbinval(row, desc, 8, &isnull));
	run->acted = DatumGetInt64(SPI_getbinval(row, desc, 9, &isnull));
	run->resumed = run->slice > 0;
}

/* 09000 where a trigger of the user's has let no row in for the run. */
static void
require_stored(void)
{
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
				 errmsg("the run was not stored"),
				 errdetail("A BEFORE trigger of the table suppressed it.")));
}

/* Shows how large the store is, as far as ANALYZE knows, and how much of it is done. */
static void
show_size(Run *run)
{
	static PointstorePlan plan = {
		.sql = "SELECT CAST(GREATEST(e.reltuples, 0) AS pg_catalog.int8),"
		" CAST(GREATEST(b.reltuples, 0)" PLUS "GREATEST(p.reltuples, 0) AS pg_catalog.int8)"
		"  FROM pg_catalog.pg_class e, pg_catalog.pg_class b, pg_catalog.pg_class p"
		" WHERE e.oid" EQ "CAST('pointstore.event_store' AS pg_catalog.regclass)"
		"   AND b.oid" EQ "CAST('pointstore.balance' AS pg_catalog.regclass)"
		"   AND p.oid" EQ "CAST('pointstore.pure_account' AS pg_catalog.regclass)"
	};
	PointstoreScope owner;
	bool		isnull;

	if (run->full)
	{
		pointstore_act_as_verifier(&owner);
		pointstore_show_shards();
		SPI_connect();
		pointstore_execute(&plan, NULL, NULL, false);
		pointstore_progress_set(PROGRESS_EVENTS_TOTAL,
								DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)));
		pointstore_progress_set(PROGRESS_ACCOUNTS_TOTAL,
								DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull)));
		SPI_finish();
		pointstore_act_as_caller(&owner);
		pointstore_run_next_step();
	}
	pointstore_run_show_done(run);
}

/*
 * Reads how far the ids of events go, and waits a moment until every
 * transaction that may have drawn one of these has ended: then this run sees
 * all of them, and the next begins there. Where some go on, it begins at an earlier
 * point that has come to rest. Events that a subscription brings leave the sequence alone and come
 * in the order of the origin's commits: there the next begins where this one's predecessor looked.
 */
static void
read_horizon(Run *run)
{
	static PointstorePlan sequence = {
		.sql = "SELECT coalesce(c.safe_id, 0), coalesce(c.pending_id, 0), CAST(coalesce(c.pending_xmax, '0') AS pg_catalog.text),"
		" CASE WHEN f.fed THEN GREATEST(s.last_value, (SELECT pg_catalog.max(id) FROM pointstore.event_store)) "
		"      WHEN " IN_ONE_PLACE " THEN coalesce(" LAST_DRAWN ", s.last_value) ELSE coalesce((SELECT pg_catalog.max(id) FROM pointstore.event_store), 0) END, f.fed"
		"  FROM pointstore.event_store_id_seq s LEFT JOIN pointstore.reconciliation_checkpoint c ON true,"
		"       (SELECT EXISTS (SELECT " IS_SUBSCRIBED " AND c.relname" EQ "'event_store') AS fed) f"
	};
	static PointstorePlan own_xid = {
		.sql = "SELECT CAST(pg_catalog.pg_current_xact_id() AS pg_catalog.text)"
	};
	PointstoreScope owner;
	int64		pending_id;
	char	   *pending_xmax;
	bool		isnull;
	int			i;

	pointstore_act_as_verifier(&owner);
	SPI_connect();
	pointstore_execute(&sequence, NULL, NULL, false);
	run->since_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	pending_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	pending_xmax = MemoryContextStrdup(run->context, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3));
	run->pending_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 4, &isnull));
	run->fed = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 5, &isnull));
	if (run->pending_id < run->since_id)
		run->since_id = pending_id = PG_INT64_MIN;	/* the sequence was set back: all over again */
	/*
	 * Drawn after the sequence was read. The xmax of a snapshot would not do: it
	 * is next to the last one that has ended, and later ones may be running.
	 */
	pointstore_execute(&own_xid, NULL, NULL, false);
	run->pending_xmax = MemoryContextStrdup(run->context, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	SPI_finish();
	pointstore_act_as_caller(&owner);
	pointstore_run_next_step();

	pointstore_progress_set(PROGRESS_PHASE, PHASE_WAITING);
	for (i = 0; i < 20 && !has_come_to_rest(run->pending_xmax); i++)
		pg_usleep(10000L);
	if (run->fed)
		run->safe_id = Max(pending_id, run->since_id);
	else if (i < 20)
		run->safe_id = run->pending_id;
	else
		run->safe_id = has_come_to_rest(pending_xmax) ? pending_id : run->since_id;
	run->whole_id = run->slices > 1 && !run->fed && run->safe_id < run->pending_id && writers_end(run) ? run->pending_id : run->safe_id;
}

/*
 * Whether those end in a moment that write events now: then every event is there with an id that was drawn before, for a backend
 * that draws one has locked the table. Other transactions do not matter to what reads events, however long they go on.
 */
static bool
writers_end(Run *run)
{
	static PointstorePlan plan = {
		.sql = "SELECT pg_catalog.array_agg(l.virtualtransaction) FROM pg_catalog.pg_locks l"
		" WHERE l.relation" EQ "CAST(CAST('pointstore.event_store' AS pg_catalog.regclass) AS pg_catalog.oid)"
		"   AND l.database" EQ "(SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname" EQ "pg_catalog.current_database())"
		"   AND l.mode" EQ "'RowExclusiveLock' AND l.granted AND ($1 IS NULL OR l.virtualtransaction" EQ "ANY ($1))",
		.nargs = 1, .argtypes = {TEXTARRAYOID}
	};
	Datum		writers = (Datum) 0;
	bool		none = false;
	int			i;

	for (i = 0; i < 20 && !none; i++)
	{
		MemoryContext old;
		PointstoreScope owner;

		if (i > 0)
			pg_usleep(10000L);
		pointstore_act_as_verifier(&owner);
		SPI_connect();
		pointstore_execute(&plan, &writers, i == 0 ? "n" : NULL, false);
		writers = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &none);
		old = MemoryContextSwitchTo(run->context);
		writers = none ? (Datum) 0 : datumCopy(writers, false, -1);
		MemoryContextSwitchTo(old);
		SPI_finish();
		pointstore_act_as_caller(&owner);
		pointstore_run_next_step();
	}
	return none;
}

/* Whether every transaction before that one has ended. */
static bool
has_come_to_rest(const char *xmax)
{
	static PointstorePlan plan = {
		.sql = "SELECT CAST($1 AS pg_catalog.xid8)" LE "pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(xmax);
	PointstoreScope owner;
	bool		isnull;
	bool		result;

	pointstore_act_as_verifier(&owner);
	SPI_connect();
	pointstore_execute(&plan, &value, NULL, false);
	result = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	pointstore_act_as_caller(&owner);
	pointstore_run_next_step();
	return result;
}

static void
finish_run(Run *run)
{
	static PointstorePlan finish = {
		.sql = "UPDATE pointstore.reconciliation SET finished_at = pg_catalog.clock_timestamp(),"
		" status = CASE WHEN $4" EQ "0 AND $5" EQ "0 THEN 'clean' ELSE 'findings' END,"
		" accounts_checked = $2, events_checked = $3, findings = $4, unverified = $5, error = $6"
		" WHERE id" EQ "$1",
		.nargs = 6, .argtypes = {INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, TEXTOID}
	};
	Datum		values[6];
	PointstoreScope owner;

	pointstore_act_as_verifier(&owner);
	SPI_connect();
	values[0] = Int64GetDatum(run->id);
	values[1] = Int64GetDatum(run->accounts);
	values[2] = Int64GetDatum(run->events);
	values[3] = Int64GetDatum(run->findings);
	values[4] = Int64GetDatum(run->unverified);
	values[5] = CStringGetTextDatum(run->breaker ? RUN_TOO_MANY : psprintf(RUN_TOO_EARLY, (long long) run->ahead));
	pointstore_execute(&finish, values, run->breaker || run->ahead > 0 ? "      " : "     n", false);
	forget_runs();
	/*
	 * The slices of an earlier session have not seen what came before this one; and
	 * what stayed locked is for the next incremental run to look at again.
	 */
	if (!run->resumed && run->unverified == 0)
		write_checkpoint(run);
	SPI_finish();
	pointstore_act_as_caller(&owner);
	pointstore_run_tell(run, run->full ? "full, done" : "incremental, done");
	pointstore_run_next_step();
}

/* How far everything had come to rest when this run looked. */
static void
write_checkpoint(Run *run)
{
#define WRITE_CHECKPOINT(column, value) \
		"INSERT INTO pointstore.reconciliation_checkpoint AS c (" column "safe_id, pending_id, pending_xmax)" \
		" VALUES (" value "$1, $2, CAST($3 AS pg_catalog.xid8)) ON CONFLICT (" column "single) DO UPDATE SET safe_id = $1," \
		" pending_id = CASE WHEN " IS_OVER("c.pending_id") " THEN $2 ELSE c.pending_id END," \
		" pending_xmax = CASE WHEN " IS_OVER("c.pending_id") " THEN CAST($3 AS pg_catalog.xid8) ELSE c.pending_xmax END" \
		" WHERE " IS_OVER("c.safe_id")
	static PointstorePlan plan = {
		.sql = WRITE_CHECKPOINT("", ""), .nargs = 3, .argtypes = {INT8OID, INT8OID, TEXTOID}
	};
	static PointstorePlan in_shard = {
		.sql = WRITE_CHECKPOINT("place, ", "$4, "), .nargs = 4, .argtypes = {INT8OID, INT8OID, TEXTOID, TEXTOID}
	};
	bool		is_shard = pointstore_is_distributed();
	Datum		values[4] = {Int64GetDatum(run->safe_id), Int64GetDatum(run->pending_id), CStringGetTextDatum(run->pending_xmax)};

	if (is_shard)
		values[3] = PointerGetDatum(pointstore_name_of_place());
	pointstore_execute(is_shard ? &in_shard : &plan, values, NULL, false);
}

/* Forgets runs that began a month ago, the oldest ones, but for the last of each scope and outcome. Of a shard, which is one of many, 3 days. */
static void
forget_runs(void)
{
	static PointstorePlan plan = {
		.sql = "DELETE FROM pointstore.reconciliation r"
		" WHERE id" EQ "ANY (ARRAY(SELECT o.id FROM pointstore.reconciliation o ORDER BY o.id LIMIT $1))"
		"   AND started_at" LT "(pg_catalog.clock_timestamp()" MINUS "CASE WHEN " IN_ONE_PLACE " THEN CAST('30 days' AS pg_catalog.interval) ELSE '3 days' END)"
		"   AND id" LT "(SELECT pg_catalog.max(l.id) FROM pointstore.reconciliation l WHERE l.scope" EQ "r.scope AND l.status" EQ "r.status)",
		.nargs = 1, .argtypes = {INT8OID}
	};
	Datum		at_once = Int64GetDatum(RUNS_FORGOTTEN_AT_ONCE);

	pointstore_use_indexes();
	pointstore_execute(&plan, &at_once, NULL, false);
}
