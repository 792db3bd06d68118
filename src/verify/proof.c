/*-------------------------------------------------------------------------
 *
 * src/verify/proof.c
 *		Up to which version accounts are proved, and what has come since.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "ground/identity.h"
#include "ground/owner.h"
#include "ground/plan.h"
#include "ground/sql.h"
#include "verify/confirm.h"
#include "verify/index.h"
#include "verify/progress.h"
#include "verify/proof.h"
#include "verify/reading.h"
#include "verify/rules.h"
#include "verify/runstate.h"

/* accounts whose proofs are written, or whose tails are read, in one statement */
#define PROOFS_AT_ONCE 1000
#define PROOFS_BETWEEN_PAUSES 100	/* of a throttled run */

/* Proofs to be written together. */
typedef struct Proofs
{
	int			n;
	Datum		id[PROOFS_AT_ONCE];
	Datum		version[PROOFS_AT_ONCE];
	Datum		balance[PROOFS_AT_ONCE];
	Datum		held[PROOFS_AT_ONCE];
	Datum		incoming[PROOFS_AT_ONCE];
	bool		untold[PROOFS_AT_ONCE];	/* what is incoming cannot be told by the events */
} Proofs;

/*
 * Accounts from the version up to which they are proved, by what was read of them, else by their proof; the rows are as
 * slice_pass's, but that nothing is known of the heap.
 */
static const char *const tail_sql =
"WITH compared AS ("
" SELECT n.id, (t.d).events AS events, CAST(coalesce(q.version, 0) AS pg_catalog.numeric)" PLUS "coalesce((t.d).events, 0) AS last,"
"        CAST(coalesce(q.balance, 0) AS pg_catalog.numeric)" PLUS "coalesce((t.d).total, 0) AS total,"
"        CAST(coalesce(q.held, 0) AS pg_catalog.numeric)" PLUS "coalesce((t.d).held, 0) AS held, q.incoming" PLUS "coalesce(t.incoming, 0) AS incoming,"
"        coalesce((t.d).sound, true) AND NOT coalesce(t.falls, false) AS sound, b.rows, b.version, b.balance, b.held AS row_held, b.incoming AS row_incoming, b.next_expiry, p.rows AS pures,"
"        o.open" PLUS "w.debits AS open, w.credits, o.first, q.proved, b.rows" GT "0 AND " IS_OTHER_STATE("b.state", STATE_AT("b.version", "g.after", "z.state_after")) " AS misplaced,"
"        coalesce(" IS_OTHER_ACCOUNT("b", "k.unit", "l.after") ", false) AS other"
"   FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6)) AS n (id, version, balance, held, incoming)"
"   LEFT JOIN pointstore.account_proof r ON r.aggregate_id" EQ "n.id"
"  CROSS JOIN LATERAL (SELECT r.version AS proved, CASE WHEN n.version IS NULL THEN r.version ELSE n.version END AS version,"
"                             CASE WHEN n.version IS NULL THEN r.balance ELSE n.balance END AS balance,"
"                             CASE WHEN n.version IS NULL THEN r.held ELSE n.held END AS held,"
"                             CASE WHEN n.version IS NOT NULL THEN coalesce(CAST(n.incoming AS pg_catalog.numeric), 'NaN')"
"                                  WHEN r.aggregate_id IS NOT NULL THEN coalesce(CAST(r.incoming AS pg_catalog.numeric), 'NaN') ELSE 0 END AS incoming) q"
"  CROSS JOIN LATERAL (SELECT pg_catalog.count(*) AS rows, pg_catalog.max(version) AS version, pg_catalog.max(balance) AS balance,"
"                             pg_catalog.max(held) AS held, pg_catalog.max(incoming) AS incoming, pg_catalog.max(next_expiry) AS next_expiry, pg_catalog.max(kind) AS kind, pg_catalog.max(status) AS status, pg_catalog.max(state) AS state"
"                        FROM pointstore.balance WHERE aggregate_id" EQ "n.id) b"
"  CROSS JOIN LATERAL (SELECT pg_catalog.count(*) AS rows FROM pointstore.pure_account WHERE aggregate_id" EQ "n.id) p"
"  CROSS JOIN LATERAL (SELECT coalesce(pg_catalog.sum(h.amount), 0) AS open, pg_catalog.min(h.expires_at) AS first FROM pointstore.hold h"
"                       WHERE h.aggregate_id" EQ "n.id AND h.status" EQ "'open') o"
"  CROSS JOIN LATERAL (SELECT coalesce(pg_catalog.sum(CAST(0 AS pg_catalog.numeric)" MINUS "d.amount) FILTER (WHERE d.amount" LT "0), 0) AS debits,"
"                             coalesce(pg_catalog.sum(d.amount) FILTER (WHERE d.amount" GT "0), 0) AS credits FROM pointstore.participant_step d"
"                       WHERE d.aggregate_id" EQ "n.id AND d.status" EQ "ANY (ARRAY['tried', 'done']) AND d.status" EQ "'tried') w"
"   LEFT JOIN LATERAL (SELECT l.after FROM pointstore.account_log l"
"                       WHERE l.aggregate_id" EQ "n.id AND l.after IS NOT NULL AND b.rows" EQ "1 ORDER BY l.id DESC LIMIT 1) l ON true"
"   LEFT JOIN LATERAL (SELECT e.state_after FROM pointstore.event_store e WHERE e.aggregate_id" EQ "n.id ORDER BY e.version DESC LIMIT 1) z ON true"
"   LEFT JOIN LATERAL (SELECT l.after FROM pointstore.account_log l WHERE l.aggregate_id" EQ "n.id AND " SAYS_STATE("l")
"                       AND b.rows" GT "0 AND " IS_OTHER_STATE("b.state", "z.state_after") " ORDER BY l.id DESC LIMIT 1) g ON true"
"   LEFT JOIN pointstore.account_kind k ON k.kind" EQ "b.kind"
"  CROSS JOIN LATERAL (SELECT pointstore.digest(e.version, e.amount, e.held, e.balance_after,"
"                             coalesce(q.version, 0), coalesce(q.balance, 0), $2) FILTER (WHERE e.version" GT "coalesce(q.version, 0)) AS d,"
"                             pg_catalog.sum(" INCOMING_OF("e") ") FILTER (WHERE e.version" GT "coalesce(q.version, 0)) AS incoming,"
"                             pg_catalog.bool_or(coalesce(e.created_at" LT "e.before, e.created_at IS NULL)) AS falls"
"                        FROM (SELECT e.*, pg_catalog.lag(e.created_at) OVER (ORDER BY e.version) AS before FROM pointstore.event_store e"
"                               WHERE e.aggregate_id" EQ "n.id AND e.version" GE "coalesce(q.version, 0)) e) t),"
" judged AS (SELECT c.*, NOT sound OR (rows" EQ "0 AND pures" EQ "0) OR rows" PLUS "pures" GT "1 OR other OR misplaced OR c.open" NE "c.held OR " OTHER_INCOMING("c.credits", "c.incoming") " OR coalesce(c.proved" GT "last, false)"
"        OR (rows" GT "0 AND (NOT coalesce(c.version" EQ "last AND c.balance" EQ "total AND c.row_held" EQ "c.held, false)"
"                             OR " OTHER_INCOMING("c.row_incoming", "c.incoming") " OR " DIFFERS("c.row_incoming", "c.credits")
"                             OR " DIFFERS_OR_NULL("c.next_expiry", "c.first") ")) AS bad"
"   FROM compared c)"
" SELECT id, bad, coalesce(events, 0)" GT "0 AS moved, CASE WHEN NOT bad THEN " AS_BIGINT("last") " END,"
"        CASE WHEN NOT bad THEN " AS_BIGINT("total") " END, CASE WHEN NOT bad THEN " AS_BIGINT("held") " END, events,"
"        CAST(NULL AS pg_catalog.int8), CAST(NULL AS pg_catalog.int8), CAST(NULL AS pg_catalog.int8), false, CAST(NULL AS pg_catalog.int8),"
"        CASE WHEN NOT bad THEN " AS_BIGINT("incoming") " END"
"   FROM judged";

static void write_proofs(Run *run, Proofs *proofs);

/*
 * Goes through the rows of slice_pass or tail_sql: writes the proofs, examines what looks wrong, and
 * reads what has come since of accounts that have moved on.
 */
void
pointstore_take_compared(Run *run, Tuplestorestate *rows, bool by_heap)
{
	MemoryContext old = MemoryContextSwitchTo(run->context);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(pointstore_compared_desc(), &TTSOpsMinimalTuple);
	Proofs	   *proofs = palloc(sizeof(Proofs));
	MemoryContext batch = AllocSetContextCreate(run->context, "pointstore proofs", ALLOCSET_DEFAULT_SIZES);
	Tuplestorestate *ahead = tuplestore_begin_heap(false, true, Min(work_mem, WORK_MEM_LIMIT));

	run->rows = lappend(run->rows, ahead);
	MemoryContextSwitchTo(old);
	proofs->n = 0;
	pointstore_progress_set(PROGRESS_PHASE, PHASE_EXAMINING);
	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		if (pointstore_is_true(slot, 1) || pointstore_is_misplaced(slot))
		{
			char	   *id = TextDatumGetCString(slot->tts_values[0]);
			HeapView	heap = pointstore_compared_heap(run, slot);

			pointstore_confirm(run, id, by_heap, by_heap ? &heap : NULL);
			pfree(id);
			continue;
		}
		if (pointstore_is_true(slot, ROW_AHEAD))
		{
			tuplestore_puttupleslot(ahead, slot);
			continue;
		}
		old = MemoryContextSwitchTo(batch);
		proofs->id[proofs->n] = PointerGetDatum(DatumGetTextPCopy(slot->tts_values[0]));
		MemoryContextSwitchTo(old);
		proofs->version[proofs->n] = slot->tts_values[3];
		proofs->balance[proofs->n] = slot->tts_values[4];
		proofs->held[proofs->n] = slot->tts_values[5];
		proofs->incoming[proofs->n] = slot->tts_values[ROW_INCOMING];
		proofs->untold[proofs->n++] = slot->tts_isnull[ROW_INCOMING];
		if (proofs->n >= (pointstore_run_is_throttled() ? PROOFS_BETWEEN_PAUSES : PROOFS_AT_ONCE))
		{
			write_proofs(run, proofs);
			MemoryContextReset(batch);
		}
	}
	write_proofs(run, proofs);
	pfree(proofs);
	MemoryContextDelete(batch);
	ExecDropSingleTupleTableSlot(slot);
	pointstore_run_let_go(run, rows);
	pointstore_prove_tails(run, ahead);
}

/* Writes proofs, by updates in place where the account had one. */
static void
write_proofs(Run *run, Proofs *proofs)
{
	static PointstorePlan plan = {
		.sql = "INSERT INTO pointstore.account_proof AS p (aggregate_id, version, balance, held, incoming, proved_at)"
		" SELECT n.id, n.version, n.balance, n.held, n.incoming, pg_catalog.clock_timestamp()"
		"   FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5))"
		"        AS n (id, version, balance, held, incoming)"
		"  ORDER BY n.id"
		" ON CONFLICT (aggregate_id) DO UPDATE SET version = EXCLUDED.version, balance = EXCLUDED.balance,"
		" held = EXCLUDED.held, incoming = EXCLUDED.incoming, proved_at = EXCLUDED.proved_at"
		/* a run of the other scope may have got further meanwhile */
		" WHERE p.version" LE "EXCLUDED.version",
		.nargs = 5, .argtypes = {TEXTARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID}
	};
	Datum		values[5];
	PointstoreScope owner;

	if (proofs->n == 0)
		return;
	pointstore_act_as_verifier(&owner);
	SPI_connect();
	values[0] = pointstore_text_array(proofs->id, proofs->n);
	values[1] = pointstore_bigint_array(proofs->version, NULL, proofs->n);
	values[2] = pointstore_bigint_array(proofs->balance, NULL, proofs->n);
	values[3] = pointstore_bigint_array(proofs->held, NULL, proofs->n);
	values[4] = pointstore_bigint_array(proofs->incoming, proofs->untold, proofs->n);
	pointstore_execute(&plan, values, NULL, false);
	SPI_finish();
	pointstore_act_as_caller(&owner);
	proofs->n = 0;
	pointstore_run_next_step();
}

void
pointstore_prove_tails(Run *run, Tuplestorestate *accounts)
{
	MemoryContext old = MemoryContextSwitchTo(run->context);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(pointstore_compared_desc(), &TTSOpsMinimalTuple);
	MemoryContext batch = AllocSetContextCreate(run->context, "pointstore tails", ALLOCSET_DEFAULT_SIZES);
	Proofs	   *from = palloc(sizeof(Proofs));
	bool		unread[PROOFS_AT_ONCE];
	bool		more = true;

	MemoryContextSwitchTo(old);
	while (more)
	{
		static const Oid types[] = {TEXTARRAYOID, INT8OID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID};
		Datum		values[6];

		old = MemoryContextSwitchTo(batch);
		for (from->n = 0; from->n < PROOFS_AT_ONCE && (more = tuplestore_gettupleslot(accounts, true, false, slot)); from->n++)
		{
			slot_getallattrs(slot);
			from->id[from->n] = PointerGetDatum(DatumGetTextPCopy(slot->tts_values[0]));
			unread[from->n] = !pointstore_is_true(slot, ROW_AHEAD);
			/* null, of an account that has had no events, is 0 */
			from->version[from->n] = slot->tts_isnull[3] ? 0 : slot->tts_values[3];
			from->balance[from->n] = slot->tts_isnull[4] ? 0 : slot->tts_values[4];
			from->held[from->n] = slot->tts_isnull[5] ? 0 : slot->tts_values[5];
			from->untold[from->n] = unread[from->n] || slot->tts_isnull[ROW_INCOMING];
			from->incoming[from->n] = from->untold[from->n] ? 0 : slot->tts_values[ROW_INCOMING];
		}
		values[0] = pointstore_text_array(from->id, from->n);
		values[1] = Int64GetDatum(run->key);
		values[2] = pointstore_bigint_array(from->version, unread, from->n);
		values[3] = pointstore_bigint_array(from->balance, unread, from->n);
		values[4] = pointstore_bigint_array(from->held, unread, from->n);
		values[5] = pointstore_bigint_array(from->incoming, from->untold, from->n);
		MemoryContextSwitchTo(old);
		if (from->n > 0)
			pointstore_take_compared(run, pointstore_collect(run, &(Reading) {.sql = tail_sql, .n = 6, .types = types, .values = values, .compared = true}), false);
		ExecClearTuple(slot);	/* its tuple, read from a file, is of that memory */
		MemoryContextReset(batch);
	}
	pfree(from);
	MemoryContextDelete(batch);
	ExecDropSingleTupleTableSlot(slot);
	pointstore_run_let_go(run, accounts);
}
