/*-------------------------------------------------------------------------
 *
 * src/verify/examine.c
 *		What is wrong with an account, or with the store as a whole: findings, which
 *		reconcile_account() shows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "account/pair.h"
#include "ground/compat.h"
#include "ground/detail.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/pointstore.h"
#include "ground/sql.h"
#include "ground/step.h"
#include "verify/examine.h"
#include "verify/index.h"
#include "verify/rules.h"

PG_FUNCTION_INFO_V1(pointstore_reconcile_account);

#define MAX_STORE_CHECKS 4

/* How rows that belong to an account's are found: by an index, for each; or from the heap, for all at once. */
#define BY_INDEX(join, table, x, condition) \
" " join " JOIN LATERAL (SELECT " x ".* FROM pointstore." table " " x " WHERE " condition " OFFSET 0) " x " ON true"
#define BY_HEAP(join, table, x, condition) \
" " join " JOIN pointstore." table " " x " ON " condition

/*
 * What is wrong with an account, from its first event, in one snapshot. Whatever its rows hold
 * is a finding: they may be there twice, and hold nulls or the ends of bigint. A break is looked for only where the
 * event before is there. A movement that does not come to zero, or was not taken back alike in
 * all its legs, is a finding of its first leg's account; where it does not come to zero,
 * which legs there are is not known. A cause that is not there may be in another store, but for those that are
 * of the account itself. Of each code the worst is told, of these the first, and how many there are.
 *
 * FIND: how rows that belong to the account's are found, BY_INDEX or BY_HEAP. Which of them is
 * not left to statistics, that may be as old as the last bulk load: an account may
 * have a leg of every movement of the store.
 */
#define EXAMINE_SQL(FIND) \
"WITH e AS (" \
" SELECT id, aggregate_id, version, event_type, amount, held, balance_after, request_id, leg, cause_id, created_at, state_after," \
"        CASE WHEN event_type" EQ "'HoldPlaced' OR " IS_MOVEMENT("v") " THEN metadata END AS metadata, " INCOMING_OF("v") " AS incoming, " SAYS_AS_REVERSAL("v") " AS says," \
"        CAST(pg_catalog.lag(version, 1, CAST(0 AS pg_catalog.int8)) OVER w AS pg_catalog.numeric)" PLUS "1 AS next," \
"        pg_catalog.lag(balance_after, 1, CAST(0 AS pg_catalog.int8)) OVER w AS balance_before," \
"        pg_catalog.lag(created_at) OVER w AS created_before" \
"   FROM pointstore.event_store v WHERE aggregate_id" EQ "$1 WINDOW w AS (ORDER BY version, id))," \
" links AS (SELECT e.*, " DIFFERS("version", "next") " AS gap," \
"        coalesce(version" EQ "next, false) AND " DIFFERS("balance_after", "(CAST(balance_before AS pg_catalog.numeric)" PLUS "amount)") " AS broken FROM e)," \
" s AS (SELECT pg_catalog.count(*) AS events, pg_catalog.max(version) AS last, pg_catalog.sum(amount) AS total," \
"        pg_catalog.sum(held) AS held, pg_catalog.sum(incoming) AS incoming, coalesce(pg_catalog.bool_or(gap), false) AS gap FROM links)," \
" b AS (SELECT * FROM pointstore.balance WHERE aggregate_id" EQ "$1)," \
" p AS (SELECT * FROM pointstore.pure_account WHERE aggregate_id" EQ "$1)," \
" q AS (SELECT pg_catalog.max(version) AS version FROM pointstore.account_proof WHERE aggregate_id" EQ "$1)," \
" a AS (SELECT kind, status FROM b UNION ALL SELECT kind, status FROM p)," \
" l AS (SELECT after FROM pointstore.account_log WHERE aggregate_id" EQ "$1 AND after IS NOT NULL ORDER BY id DESC LIMIT 1)," \
" g AS (SELECT after FROM pointstore.account_log w WHERE aggregate_id" EQ "$1 AND " SAYS_STATE("w") " ORDER BY id DESC LIMIT 1)," \
" z AS (SELECT " STATE_AT("coalesce(s.last, 0)", "g.after", "f.state_after") " AS state" \
"   FROM s LEFT JOIN g ON true LEFT JOIN (SELECT state_after FROM e ORDER BY version DESC NULLS LAST, id DESC LIMIT 1) f ON true)," \
" h AS (SELECT * FROM pointstore.hold WHERE aggregate_id" EQ "$1 AND status" EQ "'open')," \
" w AS (SELECT * FROM pointstore.participant_step WHERE aggregate_id" EQ "$1 AND status" EQ "ANY (ARRAY['tried', 'done']))," \
" r AS (SELECT coalesce(pg_catalog.sum(CAST(0 AS pg_catalog.numeric)" MINUS "amount) FILTER (WHERE amount" LT "0), 0) AS debits," \
"        coalesce(pg_catalog.sum(amount) FILTER (WHERE amount" GT "0), 0) AS credits FROM w WHERE status" EQ "'tried')," \
" o AS (SELECT coalesce(pg_catalog.sum(h.amount), 0)" PLUS "(SELECT debits FROM r) AS open, pg_catalog.min(h.expires_at) AS first," \
"        (SELECT credits FROM r) AS incoming FROM h)," \
" ends AS (SELECT c.*, pg_catalog.row_number() OVER (PARTITION BY c.cause_id ORDER BY c.version) AS place FROM e c" \
"   WHERE c.event_type" EQ "'MovementCancelled' OR (c.event_type" EQ "'MovementConfirmed' AND c.cause_id IS NOT NULL))," \
" tried AS (SELECT t.*, c.id AS end_id, c.event_type AS end_type FROM e t LEFT JOIN ends c ON c.cause_id" EQ "t.id AND c.place" EQ "1" \
"   WHERE t.event_type" EQ "'MovementTried')," \
" steps AS (SELECT c.*, pg_catalog.row_number() OVER (PARTITION BY c.cause_id ORDER BY c.version) AS place FROM e c" \
"   WHERE c.event_type" EQ "ANY (ARRAY['HoldConfirmed', 'HoldCancelled', 'HoldExpired']))," \
" placed AS (SELECT p.id, p.aggregate_id, p.version, p.held, p.metadata OPERATOR(pg_catalog.->>) 'hold_id' AS hold_id," \
"        p.metadata OPERATOR(pg_catalog.->>) 'expires_at' AS expires_at, c.event_type AS closed_by, c.amount AS taken" \
"   FROM e p LEFT JOIN steps c ON c.cause_id" EQ "p.id AND c.place" EQ "1 WHERE p.event_type" EQ "'HoldPlaced')," \
" legs AS MATERIALIZED (SELECT e.version, e.id AS first_id, e.amount AS first_amount, l.id, l.amount" \
"   FROM e" FIND("", "event_store", "l", IS_LEG("l", "e")) " WHERE " IS_FIRST_LEG("e") ")," \
" moved AS (SELECT version, pg_catalog.sum(amount)" PLUS "first_amount AS total FROM legs GROUP BY version, first_amount" \
"   UNION ALL SELECT x.version, pg_catalog.sum(r.amount)" \
"   FROM (SELECT version, id FROM legs UNION ALL SELECT DISTINCT version, first_id FROM legs) x" \
    FIND("", "event_store", "r", "r.cause_id" EQ "x.id AND r.event_type" EQ "'EventReversed'") " GROUP BY x.version)," \
" back AS (SELECT o.version, o.amount, CAST(0 AS pg_catalog.numeric)" MINUS "pg_catalog.sum(r.amount) AS total" \
"   FROM e o JOIN e r ON r.cause_id" EQ "o.id AND (r.event_type" EQ "'EventReversed' OR (" SAYS_REVERSED("r.says", "r", "o") "))" \
"  WHERE o.event_type" NE "'EventReversed' GROUP BY o.version, o.amount HAVING pg_catalog.bool_or(r.event_type" EQ "'EventReversed'))," \
" judged (code, severity, expected, found, version) AS (" \
" SELECT 'version_gap', 'critical', next, CAST(version AS pg_catalog.numeric), version FROM links WHERE gap" \
" UNION ALL" \
" SELECT 'version_gap', 'critical', q.version, coalesce(s.last, 0), CAST(coalesce(s.last, 0)" PLUS "CAST(1 AS pg_catalog.numeric) AS pg_catalog.int8)" \
"   FROM s, q WHERE q.version" GT "coalesce(s.last, 0) AND NOT s.gap" \
" UNION ALL" \
" SELECT 'chain_break', 'critical', CAST(balance_before AS pg_catalog.numeric)" PLUS "amount, balance_after, version FROM links WHERE broken" \
" UNION ALL" \
" SELECT 'time_order', 'critical', NULL, NULL, version FROM links WHERE NOT gap AND coalesce(created_at" LT "created_before, created_at IS NULL)" \
" UNION ALL" \
" SELECT 'link_broken', 'critical', amount, total, version FROM back WHERE " EXCEEDS("total", "amount") \
" UNION ALL" \
" SELECT 'link_broken', 'critical', 0, r.amount, r.version FROM e r LEFT JOIN e o ON o.id" EQ "r.cause_id AND o.event_type" NE "'EventReversed'" \
"  WHERE r.event_type" EQ "'EventReversed' AND o.id IS NULL" \
" UNION ALL" \
" SELECT 'link_broken', 'critical', NULL, e.cause_id, e.version" \
"   FROM (SELECT * FROM e WHERE leg" GE "1 AND cause_id IS NOT NULL AND event_type" NE "'EventReversed') e" \
    FIND("", "event_store", "f", "f.id" EQ "e.cause_id") \
"  WHERE NOT coalesce(" IS_FIRST_LEG("f") " AND " SAME_REQUEST("f", "e") ", false)" \
" UNION ALL" \
" SELECT 'link_broken', 'critical', NULL, NULL, version FROM e WHERE leg" GE "1 AND request_id IS NULL AND cause_id IS NULL" \
" UNION ALL" \
" SELECT 'link_broken', 'critical', CAST(0 AS pg_catalog.numeric)" MINUS "p.held, c.held, c.version FROM steps c LEFT JOIN placed p ON p.id" EQ "c.cause_id" \
"  WHERE c.place" GT "1 OR " IS_OTHER_STEP("c", "p") \
" UNION ALL" \
" SELECT 'link_broken', 'critical', CAST(0 AS pg_catalog.numeric)" MINUS "t.held, c.held, c.version FROM ends c LEFT JOIN tried t ON t.id" EQ "c.cause_id" \
"  WHERE c.place" GT "1 OR " IS_OTHER_END("c", "t") \
" UNION ALL" \
" SELECT 'duplicate_request', 'critical', t.id, e.id, e.version FROM (SELECT * FROM e WHERE request_id IS NOT NULL) e" \
    FIND("", "event_store", "t", "t.request_id" EQ "e.request_id AND coalesce(t.leg, -1)" EQ "coalesce(e.leg, -1)" \
		 " AND (t.id" LT "e.id OR (t.id" EQ "e.id AND t.aggregate_id" LT "e.aggregate_id)) AND " OF_ONE_REALM("t", "e")) \
" UNION ALL" \
" SELECT 'transfer_unbalanced', 'critical', 0, total, version FROM moved WHERE total" NE "0 AND " IN_ONE_PLACE \
" UNION ALL" \
" SELECT 'balance_mismatch', CASE WHEN b.balance" LT "s.total THEN 'warning' ELSE 'error' END, s.total, b.balance, s.last" \
"   FROM s, b WHERE s.events" GT "0 AND " DIFFERS("b.balance", "coalesce(s.total, 0)") \
" UNION ALL" \
" SELECT 'version_mismatch', 'error', s.last, b.version, s.last FROM s, b WHERE s.events" GT "0 AND " DIFFERS("b.version", "s.last") \
" UNION ALL" \
" SELECT 'held_mismatch', CASE WHEN b.held" GT "s.held THEN 'warning' ELSE 'error' END, s.held, b.held, s.last" \
"   FROM s, b WHERE s.events" GT "0 AND " DIFFERS("b.held", "coalesce(s.held, 0)") \
" UNION ALL" \
" SELECT 'held_mismatch', CASE WHEN o.open" GT "x.held THEN 'error' ELSE 'warning' END, x.held, o.open, coalesce(s.last, 0)" \
"   FROM s CROSS JOIN o LEFT JOIN b ON true, LATERAL (SELECT coalesce(s.held, 0) AS held) x" \
"  WHERE o.open" NE "x.held AND (s.events" EQ "0 OR b.held IS NULL OR b.held" EQ "x.held)" \
" UNION ALL" \
" SELECT 'held_mismatch', CASE WHEN b.incoming" GT "coalesce(s.incoming, 0) THEN 'warning' ELSE 'error' END, coalesce(s.incoming, 0), b.incoming, s.last" \
"   FROM s, b WHERE s.events" GT "0 AND " OTHER_INCOMING("b.incoming", "s.incoming") \
" UNION ALL" \
" SELECT 'held_mismatch', CASE WHEN o.incoming" GT "x.incoming THEN 'error' ELSE 'warning' END, x.incoming, o.incoming, coalesce(s.last, 0)" \
"   FROM s CROSS JOIN o LEFT JOIN b ON true, LATERAL (SELECT CASE WHEN coalesce(s.incoming, 0)" EQ "'NaN' THEN b.incoming ELSE coalesce(s.incoming, 0) END AS incoming) x" \
"  WHERE o.incoming" NE "x.incoming AND (s.events" EQ "0 OR b.incoming IS NULL OR b.incoming" EQ "x.incoming)" \
" UNION ALL" \
" SELECT 'held_mismatch', 'warning', NULL, NULL, coalesce(s.last, 0) FROM s, b, o WHERE " DIFFERS_OR_NULL("b.next_expiry", "o.first") \
" UNION ALL" \
" SELECT 'hold_mismatch', CASE WHEN h.hold_id IS NOT NULL AND coalesce(h.aggregate_id" EQ "p.aggregate_id AND h.event_id" EQ "p.id, false)" \
"          AND CASE WHEN p.closed_by IS NULL THEN coalesce(h.status" EQ "'open' AND h.amount" GE "p.held, false)" \
"                   ELSE coalesce(h.status" NE "'open', false) END THEN 'warning' ELSE 'error' END," \
"        CASE WHEN h.hold_id IS NULL OR " DIFFERS("h.amount", "p.held") " THEN p.held WHEN " DIFFERS("h.captured", "(0" MINUS "coalesce(p.taken, 0))") " THEN 0" MINUS "coalesce(p.taken, 0)" \
"             WHEN p.closed_by IS NULL THEN p.held ELSE 0 END," \
"        CASE WHEN h.hold_id IS NULL OR " DIFFERS("h.amount", "p.held") " THEN h.amount WHEN " DIFFERS("h.captured", "(0" MINUS "coalesce(p.taken, 0))") " THEN h.captured" \
"             WHEN h.status" EQ "'open' THEN h.amount ELSE 0 END, p.version" \
"   FROM (SELECT * FROM placed WHERE hold_id IS NOT NULL) p" FIND("LEFT", "hold", "h", "h.hold_id" EQ "p.hold_id AND " OF_ONE_REALM("h", "p")) \
"  WHERE " IS_OTHER_HOLD("h", "p", "p.closed_by", "p.taken") \
" UNION ALL" \
" SELECT 'hold_mismatch', 'warning', 0, h.amount, coalesce(s.last, 0)" \
"   FROM s, h LEFT JOIN placed p ON p.id" EQ "h.event_id WHERE p.id IS NULL" \
" UNION ALL" \
" SELECT 'movement_mismatch', 'error', " TRIED_AMOUNT("t") ", CAST(d.amount AS pg_catalog.numeric), t.version" \
"   FROM (SELECT * FROM tried WHERE (metadata OPERATOR(pg_catalog.->>) 'movement_id') IS NOT NULL) t" FIND("LEFT", "participant_step", "d", IS_ROW_OF("d", "t.metadata")) \
"  WHERE " IS_OTHER_TRIED("d", "t", "t.end_id", "t.end_type") \
" UNION ALL" \
" SELECT 'movement_mismatch', 'error', t.amount, d.amount, t.version" \
"   FROM (SELECT * FROM e WHERE event_type" EQ "'MovementConfirmed' AND cause_id IS NULL AND (metadata OPERATOR(pg_catalog.->>) 'movement_id') IS NOT NULL) t" \
    FIND("LEFT", "participant_step", "d", IS_ROW_OF("d", "t.metadata")) \
"  WHERE " IS_OTHER_APPLIED("d", "t") \
" UNION ALL" \
" SELECT 'movement_mismatch', 'warning', CAST(NULL AS pg_catalog.numeric), w.amount, coalesce(s.last, 0)" \
"   FROM s, w LEFT JOIN e t ON t.id" EQ "w.event_id AND CASE WHEN w.status" EQ "'tried' THEN t.event_type" EQ "'MovementTried' ELSE t.amount" EQ "w.amount END" \
"  WHERE t.id IS NULL" \
" UNION ALL" \
" SELECT 'missing_balance', 'error', s.total, CAST(NULL AS pg_catalog.numeric), s.last" \
"   FROM s WHERE s.events" GT "0 AND NOT EXISTS (SELECT FROM b) AND NOT EXISTS (SELECT FROM p)" \
" UNION ALL" \
" SELECT 'orphan_balance', CASE WHEN b.balance" LE "0 AND NOT EXISTS (SELECT FROM p) THEN 'warning' ELSE 'error' END," \
"        CAST(0 AS pg_catalog.numeric), b.balance, b.version" \
"   FROM s, b WHERE (s.events" EQ "0 AND NOT coalesce(b.version" EQ "0 AND b.balance" EQ "0 AND b.held" EQ "0 AND b.incoming" EQ "0, false)) OR EXISTS (SELECT FROM p)" \
" UNION ALL" \
" SELECT 'duplicate_row', 'error', 1, x.rows, coalesce(s.last, 0)" \
"   FROM s, (SELECT pg_catalog.count(*) AS rows FROM b UNION ALL SELECT pg_catalog.count(*) FROM p) x WHERE x.rows" GT "1" \
" UNION ALL" \
" SELECT 'account_mismatch', CASE WHEN a.kind" EQ "(l.after OPERATOR(pg_catalog.->>) 'kind') AND a.status" NE "'open' THEN 'warning' ELSE 'error' END," \
"        NULL, NULL, coalesce(s.last, 0)" \
"   FROM s, l, a LEFT JOIN pointstore.account_kind k ON k.kind" EQ "a.kind" \
"  WHERE (SELECT pg_catalog.count(*) FROM a)" EQ "1 AND " IS_OTHER_ACCOUNT("a", "k.unit", "l.after") \
" UNION ALL" \
" SELECT 'state_mismatch', 'error', NULL, NULL, coalesce(s.last, 0) FROM s, b, z" \
"  WHERE (s.events" GT "0 OR EXISTS (SELECT FROM g)) AND " IS_OTHER_STATE("b.state", "z.state") ")," \
" told AS (SELECT DISTINCT ON (code) *, pg_catalog.count(*) OVER (PARTITION BY code) AS times FROM judged" \
"  ORDER BY code, CASE WHEN severity" EQ "'critical' THEN 0 WHEN severity" EQ "'error' THEN 1 ELSE 2 END, version, expected, found)" \
" SELECT j.code, j.severity, " AS_BIGINT("j.expected") ", " AS_BIGINT("j.found") ", j.version, pg_catalog.jsonb_build_object(" \
"          'events', s.events, 'last_version', s.last, 'sum', s.total, 'held', s.held, 'open_holds', o.open, 'incoming', CASE WHEN coalesce(s.incoming, 0)" NE "'NaN' THEN coalesce(s.incoming, 0) END, 'open_incoming', o.incoming, 'times', j.times," \
"          'row', (SELECT pg_catalog.jsonb_build_object('kind', b.kind, 'version', b.version, 'balance', b.balance, 'held', b.held, 'incoming', b.incoming, 'status', b.status," \
"                   'next_expiry', b.next_expiry, 'state', b.state) FROM b LIMIT 1), 'state', (SELECT state FROM z)," \
"          'log', (SELECT pg_catalog.jsonb_build_object('kind', l.after OPERATOR(pg_catalog.->) 'kind', 'status', l.after OPERATOR(pg_catalog.->) 'status'," \
"                   'unit', l.after OPERATOR(pg_catalog.->) 'unit') FROM l))" \
"   FROM told j, s, o"

static PointstorePlan examine_plan = {
	.sql = EXAMINE_SQL(BY_INDEX), .nargs = 1, .argtypes = {TEXTOID}
};
/* What is wrong with the store as a whole, which has findings of the account '': its sequence, and rows without a name. */
static PointstorePlan examine_store_plan = {
	.sql = "WITH judged (code, severity, expected, found) AS ("
	" SELECT 'sequence_settings', 'error', CAST(1 AS pg_catalog.int8), CASE WHEN q.seqcache" NE "1 THEN q.seqcache ELSE q.seqincrement END"
	"   FROM pg_catalog.pg_sequence q WHERE q.seqrelid" EQ "CAST('pointstore.event_store_id_seq' AS pg_catalog.regclass)"
	"    AND (q.seqcache" NE "1 OR q.seqincrement" LT "1 OR q.seqcycle)"
	" UNION ALL SELECT 'version_gap', 'critical', 0, pg_catalog.count(*) FROM pointstore.event_store WHERE aggregate_id IS NULL HAVING pg_catalog.count(*)" GT "0"
	" UNION ALL SELECT 'orphan_balance', 'error', 0, pg_catalog.count(*) FROM pointstore.balance WHERE aggregate_id IS NULL HAVING pg_catalog.count(*)" GT "0)"
	" SELECT j.code, j.severity, j.expected, j.found, CAST(NULL AS pg_catalog.int8), pg_catalog.jsonb_build_object("
	"   'times', 1, 'cache', q.seqcache, 'increment', q.seqincrement, 'cycle', q.seqcycle)"
	"   FROM judged j, pg_catalog.pg_sequence q WHERE q.seqrelid" EQ "CAST('pointstore.event_store_id_seq' AS pg_catalog.regclass)"
};
static PointstorePlan examine_heap_plan = {
	.sql = EXAMINE_SQL(BY_HEAP), .nargs = 1, .argtypes = {TEXTOID}
};

/* registered from above */
static void look_up_by_keys(void);

static StoreCheck store_checks[MAX_STORE_CHECKS];
static int	n_store_checks = 0;

/* reconcile_account(aggregate_id): what is wrong, in the caller's snapshot. */
Datum
pointstore_reconcile_account(PG_FUNCTION_ARGS)
{
	text	   *id = pointstore_name(fcinfo, 0, "aggregate_id");
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	static PointstorePlan known = {
		.sql = "SELECT FROM pointstore.account WHERE aggregate_id" EQ "$1 UNION ALL"
		" SELECT FROM pointstore.account_proof WHERE aggregate_id" EQ "$1 UNION ALL"
		" SELECT FROM pointstore.event_store WHERE aggregate_id" EQ "$1 LIMIT 1",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Datum		value = PointerGetDatum(id);
	PointstoreScope owner;
	uint64		i;

	pointstore_materialize(fcinfo);
	pointstore_act_as_verifier(&owner);
	look_up_by_keys();
	SPI_connect();
	pointstore_execute_of(&known, id, &value, NULL, true);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_ACCOUNT_MISSING),
				 errmsg("account \"%s\" is missing", pointstore_cstring(id)),
				 pointstore_detail_account(id)));
	/* what the caller has yet to pair is not accused */
	if (!pointstore_is_unpaired(id))
		pointstore_execute_of(&examine_plan, id, &value, NULL, true);
	else
		SPI_processed = 0;
	for (i = 0; i < SPI_processed; i++)
		tuplestore_puttuple(rsinfo->setResult, SPI_tuptable->vals[i]);
	SPI_finish();
	pointstore_act_as_caller(&owner);
	return (Datum) 0;
}

/* The statement of one account is planned once for all, and by keys. */
static void
look_up_by_keys(void)
{
	pointstore_use_indexes();
	pointstore_set_option("enable_nestloop", "off");	/* but where nothing else will do */
}

/*
 * Findings of an account, or of the store as a whole, which has no name, in the active snapshot, by its keys or by its heap;
 * of the caller's memory.
 */
Findings *
pointstore_examine(text *id, bool by_heap)
{
	PointstorePlan *plan = by_heap ? &examine_heap_plan : VARSIZE_ANY_EXHDR(id) == 0 ? &examine_store_plan : &examine_plan;
	MemoryContext context = CurrentMemoryContext;
	Datum		value = PointerGetDatum(id);
	Findings   *found = palloc0(sizeof(Findings));
	PointstoreScope scope;
	uint64		i;

	pointstore_act_as_verifier(&scope);
	if (by_heap)
		pointstore_use_no_index();
	else
		look_up_by_keys();
	SPI_connect();
	pointstore_execute(plan, &value, NULL, true);
	found->n = SPI_processed;
	found->findings = MemoryContextAllocZero(context, sizeof(Finding) * Max(found->n, 1));
	for (i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		Finding    *finding = &found->findings[i];
		bool		isnull;

		finding->code = MemoryContextStrdup(context, SPI_getvalue(row, desc, 1));
		finding->severity = MemoryContextStrdup(context, SPI_getvalue(row, desc, 2));
		finding->expected = DatumGetInt64(SPI_getbinval(row, desc, 3, &finding->no_expected));
		finding->found = DatumGetInt64(SPI_getbinval(row, desc, 4, &finding->no_found));
		finding->version = DatumGetInt64(SPI_getbinval(row, desc, 5, &finding->no_version));
		finding->detail = SPI_datumTransfer(SPI_getbinval(row, desc, 6, &isnull), false, -1);
		found->critical |= strcmp(finding->severity, "critical") == 0;
	}
	SPI_finish();
	pointstore_act_as_caller(&scope);
	return found;
}

/* Called when the library is loaded, by who registers what has to be asked of the store as a whole. */
void
pointstore_add_store_check(StoreCheck check)
{
	Assert(n_store_checks < MAX_STORE_CHECKS);
	store_checks[n_store_checks++] = check;
}

/* Whether findings of that name are about the store as a whole, or in a shard about its feed. */
bool
pointstore_is_whole_store(text *id)
{
	if (!pointstore_here().is_range)
		return VARSIZE_ANY_EXHDR(id) == 0;
	return strcmp(pointstore_cstring(id), text_to_cstring(pointstore_name_of_feed())) == 0;
}

/* Adds to what is wrong with the store as a whole what is registered from above, which may take as long as reading all events. */
void
pointstore_examine_whole_store(Findings *found)
{
	int			i;

	found->findings = repalloc(found->findings, sizeof(Finding) * (found->n + n_store_checks + 1));
	for (i = 0; i < n_store_checks; i++)
		found->n += store_checks[i] (&found->findings[found->n]) ? 1 : 0;
}

/* What is wrong with an account, or with the store as a whole, in a snapshot of now. */
Findings *
pointstore_examine_now(text *id)
{
	Findings   *found;

	(void) pointstore_push_snapshot();
	found = pointstore_examine(id, false);
	if (pointstore_is_whole_store(id))
		pointstore_examine_whole_store(found);
	PopActiveSnapshot();
	return found;
}
