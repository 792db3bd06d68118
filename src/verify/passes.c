/*-------------------------------------------------------------------------
 *
 * src/verify/passes.c
 *		What a run looks for, in SQL: what a full one compares of all accounts, and what an
 *		incremental one does of the events that have come since. What is wrong is said in rules.h.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "ground/sql.h"
#include "verify/passes.h"
#include "verify/rules.h"
#include "verify/spool.h"

const Oid	pointstore_pass_types[N_PASS_VALUES] = {INT8OID, INT8OID, INT8OID, INT8OID, BOOLOID, BOOLOID, INT8OID};

/* Whether an account is of the slice $3 of $2. */
#define IN_SLICE(account) "($2" EQ "1 OR " PART_OF_TEXT(account, "$2") EQ "$3)"

/*
 * The statements of a full run, over the store's events or, of a run in slices, over those of a part that
 * were spooled: $1 the key of the digests, $2 slices, $3 the slice, $4 the last id when the run began,
 * $5 whether the events were spooled, so that accounts may have moved meanwhile, $6 whether they come by a subscription,
 * $7 the last id of which every event was there before the run began to read.
 */

/*
 * The balance rows, and the accounts that were proved once, beside what the events say, by their
 * heaps. A row for each account: whether it looks wrong, whether its proof is out of
 * date, what its events say, what tells whether an index hides some of it, and whether it has moved on since its
 * events were read. Rows without a name are those of the account ''.
 */
#define IS_AHEAD "($5 AND coalesce(GREATEST(b.version, q.version)" GT "coalesce((e.d).last_version, 0), false))"
#define SEEN "FILTER (WHERE coalesce(e.id" LE "$7, true))"
/* of the row, and of the last event: states are compared by their hashes, null is none; LOG_SQL looks at those that were set since */
#define HASH_OF_STATE "(CASE WHEN b.state" NE "'' THEN pg_catalog.hashtextextended(b.state, $1) END)"
#define HASH_OF_LAST_STATE "(CASE WHEN e.state[1]" EQ "(e.d).last_version THEN e.state[2] END)"
/* as it is kept with the proof: null where it cannot be told */
#define WHOLE(incoming) AS_BIGINT("coalesce(" incoming ", 0)")
#define SLICE_SQL(events, seen, mark) \
"WITH digested AS (" \
" SELECT e.aggregate_id, pointstore.digest(e.version, e.amount, e.held, e.balance_after, 0, 0, $1) AS d, pg_catalog.sum(" INCOMING_OF("e") ") AS incoming, " seen " AS seen, " mark " AS mark," \
"        pg_catalog.max(ARRAY[e.version, pg_catalog.hashtextextended(e.state_after, $1)]) FILTER (WHERE e.state_after" NE "'') AS state" \
"   FROM " events " e GROUP BY e.aggregate_id)," \
" balances AS (" \
" SELECT b.aggregate_id, pg_catalog.count(*) AS rows, pg_catalog.max(b.version) AS version, pg_catalog.max(b.balance) AS balance," \
"        pg_catalog.max(b.held) AS held, pg_catalog.max(b.incoming) AS incoming, pg_catalog.max(b.next_expiry) AS next_expiry, pg_catalog.max(b.state) AS state FROM pointstore.balance b" \
"  WHERE " IN_SLICE("b.aggregate_id") " GROUP BY b.aggregate_id)," \
" pures AS (" \
" SELECT p.aggregate_id, pg_catalog.count(*) AS rows FROM pointstore.pure_account p" \
"  WHERE " IN_SLICE("p.aggregate_id") " GROUP BY p.aggregate_id)," \
" proofs AS (" \
" SELECT * FROM pointstore.account_proof q" \
"  WHERE " IN_SLICE("q.aggregate_id") ")," \
" stated AS (" \
" SELECT DISTINCT l.aggregate_id, l.after OPERATOR(pg_catalog.->>) 'version' AS version FROM pointstore.account_log l" \
"  WHERE l.action" EQ "'set_kind' AND l.after OPERATOR(pg_catalog.?) 'state' AND " IN_SLICE("l.aggregate_id") ")," \
" reserved AS (" \
" SELECT x.aggregate_id, coalesce(pg_catalog.sum(x.debit), 0) AS open, pg_catalog.min(x.expires_at) AS first, coalesce(pg_catalog.sum(x.credit), 0) AS incoming FROM (" \
"  SELECT h.aggregate_id, " NUMERIC("h.amount") " AS debit, h.expires_at, NULL AS credit FROM pointstore.hold h" \
"   WHERE h.status" EQ "'open' AND " IN_SLICE("h.aggregate_id") \
"  UNION ALL" \
"  SELECT d.aggregate_id, CASE WHEN d.amount" LT "0 THEN CAST(0 AS pg_catalog.numeric)" MINUS "d.amount END, NULL, CASE WHEN d.amount" GT "0 THEN d.amount END" \
"    FROM pointstore.participant_step d WHERE d.status" EQ "'tried' AND " IN_SLICE("d.aggregate_id") ") x" \
"  GROUP BY x.aggregate_id)," \
" compared AS (" \
" SELECT coalesce(e.aggregate_id, b.aggregate_id, r.aggregate_id, q.aggregate_id, p.aggregate_id, '') AS id," \
"        (b.aggregate_id IS NOT NULL AND p.aggregate_id IS NOT NULL)" \
"        OR coalesce(b.rows, 0)" GT "1 OR coalesce(p.rows, 0)" GT "1" \
"        OR coalesce(e.aggregate_id, b.aggregate_id, r.aggregate_id, q.aggregate_id, p.aggregate_id) IS NULL" \
"        OR (e.aggregate_id IS NOT NULL AND (NOT (e.d).sound OR (b.aggregate_id IS NULL AND p.aggregate_id IS NULL)))" \
"        OR (NOT " IS_AHEAD " AND (" \
"            (b.aggregate_id IS NOT NULL AND NOT coalesce(b.version" EQ "coalesce((e.d).last_version, 0) AND b.balance" EQ "coalesce((e.d).total, 0)" \
"                                                         AND b.held" EQ "coalesce((e.d).held, 0), false))" \
"            OR (e.aggregate_id IS NULL AND r.aggregate_id IS NOT NULL)" \
"            OR coalesce(r.open, 0)" NE "coalesce((e.d).held, 0)" \
"            OR " OTHER_INCOMING("coalesce(r.incoming, 0)", "e.incoming") \
"            OR (b.aggregate_id IS NOT NULL AND (" OTHER_INCOMING("b.incoming", "e.incoming") " OR " DIFFERS("coalesce(r.incoming, 0)", "b.incoming") "))" \
"            OR (b.aggregate_id IS NOT NULL AND " DIFFERS_OR_NULL("b.next_expiry", "r.first") ")" \
"            OR (b.aggregate_id IS NOT NULL AND e.aggregate_id IS NOT NULL AND s.aggregate_id IS NULL AND " DIFFERS_OR_NULL(HASH_OF_STATE, HASH_OF_LAST_STATE) ")" \
"            OR coalesce(q.version" GT "coalesce((e.d).last_version, 0), false))) AS bad," \
"        e.aggregate_id IS NOT NULL AND (q.aggregate_id IS NULL OR q.version" NE "(e.d).last_version" \
"        OR q.balance" NE "(e.d).total OR q.held" NE "(e.d).held OR " DIFFERS_OR_NULL("q.incoming", WHOLE("e.incoming")) ") AS moved," \
"        (e.d).last_version AS last, (e.d).total AS total, (e.d).held AS held, (e.d).events AS events, e.mark, b.rows AS balances, p.rows AS pures," \
"        " IS_AHEAD " AS ahead, coalesce(e.seen, (e.d).events) AS seen, " WHOLE("e.incoming") " AS incoming," \
"        coalesce(e.aggregate_id, b.aggregate_id, r.aggregate_id, q.aggregate_id) IS NOT NULL AS known" \
"   FROM digested e" \
"   FULL JOIN balances b ON b.aggregate_id" EQ "e.aggregate_id" \
"   FULL JOIN reserved r ON r.aggregate_id" EQ "coalesce(e.aggregate_id, b.aggregate_id)" \
"   FULL JOIN proofs q ON q.aggregate_id" EQ "coalesce(e.aggregate_id, b.aggregate_id, r.aggregate_id)" \
"   FULL JOIN pures p ON p.aggregate_id" EQ "coalesce(e.aggregate_id, b.aggregate_id, r.aggregate_id, q.aggregate_id)" \
"   LEFT JOIN stated s ON s.aggregate_id" EQ "b.aggregate_id AND s.version" EQ "CAST(b.version AS pg_catalog.text))" \
" SELECT id, bad, moved, last, total, held, events, mark, balances, pures, ahead, seen, incoming FROM compared WHERE known OR bad"

/* The accounts within which created_at falls; sorted by a hash first, since to compare numbers is cheap. */
#define ORDER_SQL(events) \
"SELECT DISTINCT x.aggregate_id FROM (" \
" SELECT e.aggregate_id, e.created_at, pg_catalog.lag(e.created_at) OVER (PARTITION BY " HASH_OF("e.aggregate_id") ", e.aggregate_id ORDER BY e.version, e.id) AS before" \
"   FROM " events " e) x" \
" WHERE coalesce(x.created_at" LT "x.before, x.created_at IS NULL)"

/* The accounts whose rows of holds and of movements' steps are not what their events say, and those whose steps do not fit together. */
/* what all but steps are not, mostly, and costs less to ask than their types: they move nothing, or have a cause; what is applied at once has neither */
#define MAY_BE_STEP(e) "((" e ".amount" NE "0) IS NOT TRUE OR " e ".cause_id IS NOT NULL OR " e ".event_type" EQ "'MovementConfirmed')"
#define HOLDS_SQL(events) \
"WITH steps AS MATERIALIZED (" \
" SELECT e.id, e.aggregate_id, e.event_type, e.amount, e.held, e.cause_id, CASE WHEN " IS_MOVEMENT("e") " THEN e.metadata END AS metadata, e.metadata OPERATOR(pg_catalog.->>) 'hold_id' AS hold_id," \
"        e.metadata OPERATOR(pg_catalog.->>) 'expires_at' AS expires_at" \
"   FROM " events " e WHERE " MAY_BE_STEP("e") " AND (" IS_STEP("e") " OR " IS_MOVEMENT("e") "))," \
" tried AS (SELECT * FROM steps WHERE event_type" EQ "'MovementTried')," \
" ended AS (SELECT aggregate_id, cause_id, pg_catalog.count(*) AS times, pg_catalog.min(id) AS id, pg_catalog.min(event_type) AS event_type," \
"        pg_catalog.min(amount) AS amount, pg_catalog.min(held) AS held FROM steps" \
"        WHERE event_type" EQ "'MovementCancelled' OR (event_type" EQ "'MovementConfirmed' AND cause_id IS NOT NULL) GROUP BY aggregate_id, cause_id)," \
" placed AS (SELECT * FROM steps WHERE event_type" EQ "'HoldPlaced')," \
" closed AS (SELECT aggregate_id, cause_id, pg_catalog.count(*) AS times, pg_catalog.min(event_type) AS event_type, pg_catalog.min(amount) AS amount," \
"        pg_catalog.min(held) AS held FROM steps c WHERE " IS_STEP("c") " AND event_type" NE "'HoldPlaced' GROUP BY aggregate_id, cause_id)" \
" SELECT DISTINCT x.aggregate_id FROM (" \
"  SELECT c.aggregate_id FROM closed c LEFT JOIN placed p ON p.id" EQ "c.cause_id AND p.aggregate_id" EQ "c.aggregate_id" \
"   WHERE c.times" GT "1 OR " IS_OTHER_STEP("c", "p") \
"  UNION ALL" \
"  SELECT p.aggregate_id FROM placed p LEFT JOIN closed c ON c.cause_id" EQ "p.id AND c.aggregate_id" EQ "p.aggregate_id" \
"    LEFT JOIN pointstore.hold h ON h.hold_id" EQ "p.hold_id AND " OF_ONE_REALM("h", "p") \
"   WHERE p.hold_id IS NOT NULL AND " IS_OTHER_HOLD("h", "p", "c.event_type", "c.amount") \
"  UNION ALL" \
"  SELECT h.aggregate_id FROM pointstore.hold h LEFT JOIN placed p ON p.id" EQ "h.event_id AND p.aggregate_id" EQ "h.aggregate_id" \
"   WHERE h.status" EQ "'open' AND " IN_SLICE("h.aggregate_id") " AND p.id IS NULL AND NOT " HAS_COME("h.event_id", "$4", "$6") \
"  UNION ALL" \
"  SELECT c.aggregate_id FROM ended c LEFT JOIN tried t ON t.id" EQ "c.cause_id AND t.aggregate_id" EQ "c.aggregate_id" \
"   WHERE c.times" GT "1 OR " IS_OTHER_END("c", "t") \
"  UNION ALL" \
"  SELECT t.aggregate_id FROM tried t LEFT JOIN ended c ON c.cause_id" EQ "t.id AND c.aggregate_id" EQ "t.aggregate_id" \
"    LEFT JOIN pointstore.participant_step d ON " IS_ROW_OF("d", "t.metadata") \
"   WHERE (t.metadata OPERATOR(pg_catalog.->>) 'movement_id') IS NOT NULL AND " IS_OTHER_TRIED("d", "t", "c.id", "c.event_type") \
"  UNION ALL" \
"  SELECT t.aggregate_id FROM steps t LEFT JOIN pointstore.participant_step d ON " IS_ROW_OF("d", "t.metadata") \
"   WHERE t.event_type" EQ "'MovementConfirmed' AND t.cause_id IS NULL AND (t.metadata OPERATOR(pg_catalog.->>) 'movement_id') IS NOT NULL AND " IS_OTHER_APPLIED("d", "t") \
"  UNION ALL" \
"  SELECT d.aggregate_id FROM pointstore.participant_step d LEFT JOIN tried t ON t.id" EQ "d.event_id AND t.aggregate_id" EQ "d.aggregate_id" \
"   WHERE d.status" EQ "'tried' AND " IN_SLICE("d.aggregate_id") " AND t.id IS NULL AND NOT " HAS_COME("d.event_id", "$4", "$6") ") x"

/* The accounts whose kind, its unit, or status is not what their log says last, or whose state is not what it was set to since their last event. */
#define LOG_SQL(events) \
"SELECT DISTINCT a.aggregate_id FROM (" \
" SELECT b.aggregate_id, b.kind, b.status, b.version, b.state FROM pointstore.balance b WHERE " IN_SLICE("b.aggregate_id") \
" UNION ALL SELECT p.aggregate_id, p.kind, p.status, NULL, NULL FROM pointstore.pure_account p WHERE " IN_SLICE("p.aggregate_id") ") a" \
" JOIN (SELECT l.aggregate_id, pg_catalog.max(l.id) AS id," \
"              pg_catalog.max(l.id) FILTER (WHERE " SAYS_STATE("l") " AND (l.action" NE "'open' OR " LOGGED_STATE("l.after") " IS NOT NULL)) AS stated FROM pointstore.account_log l" \
"        WHERE l.after IS NOT NULL AND " IN_SLICE("l.aggregate_id") " GROUP BY l.aggregate_id) x ON x.aggregate_id" EQ "a.aggregate_id" \
" JOIN pointstore.account_log l ON l.id" EQ "x.id" \
" LEFT JOIN pointstore.account_log m ON m.id" EQ "x.stated" \
" LEFT JOIN pointstore.account_kind k ON k.kind" EQ "a.kind" \
" WHERE " IS_OTHER_ACCOUNT("a", "k.unit", "l.after") \
" OR (" LOGS_STATE("m.after", "a.version") " AND " IS_OTHER_STATE("a.state", LOGGED_STATE("m.after")) ")" \
" OR (a.version" EQ "0 AND a.state" NE "'' AND m.id IS NULL)"

/* What was taken back, by account and event; id null: there is no such event. */
#define REVERSED(events) \
"SELECT r.aggregate_id, r.cause_id, r.total, CAST(0 AS pg_catalog.numeric)" MINUS "r.total AS back, r.newest, o.id, o.amount, " FIRST_OF("o") " AS first_id" \
"   FROM (SELECT e.aggregate_id, e.cause_id, pg_catalog.sum(e.amount) AS total, pg_catalog.max(e.id) AS newest FROM " events " e" \
"          WHERE e.event_type" EQ "'EventReversed' GROUP BY e.aggregate_id, e.cause_id) r" \
"   LEFT JOIN " events " o ON " IS_ORIGINAL("o", "r")

/*
 * The accounts with an event that was taken back by more than it was, be it that the type of what did was altered,
 * and those where something takes back nothing of the account.
 */
#define REVERSALS_SQL(events) \
"WITH reversed AS MATERIALIZED (" REVERSED(events) ")" \
" SELECT DISTINCT x.aggregate_id FROM (" \
"  SELECT aggregate_id FROM reversed WHERE id IS NULL OR " EXCEEDS("back", "amount") \
"  UNION ALL" \
"  SELECT a.aggregate_id FROM (" \
"   SELECT r.aggregate_id, r.amount, r.back" MINUS "pg_catalog.sum(e.amount) AS back" \
"     FROM reversed r JOIN " events " o ON " IS_ORIGINAL("o", "r") " JOIN " events " e ON e.cause_id" EQ "r.cause_id AND e.aggregate_id" EQ "r.aggregate_id" \
"      AND " SAYS_REVERSED("(" SAYS_AS_REVERSAL("e") ")", "e", "o") \
"    GROUP BY r.aggregate_id, r.back, r.amount, o.id) a WHERE " EXCEEDS("a.back", "a.amount") ") x"

/* What was taken back of a movement, by its first leg: for the parts of the movements, of which it is no matter whose they are. */
const char *const pointstore_resolve_sql =
"SELECT CAST(" PART_OF_ID("v.first_id", "$2") " AS pg_catalog.int4), v.first_id, v.total, v.newest FROM (" REVERSED("events") ") v WHERE v.id IS NOT NULL";

/* The accounts with an event of a request and leg that another has: of those whose hashes are alike, which may be many. */
#define REQUESTS_SQL(events) \
"WITH alike AS (" \
" SELECT DISTINCT " HASH_OF("e.request_id") " AS hash FROM " events " e WHERE e.request_id IS NOT NULL" \
"  GROUP BY pg_catalog.hashint8extended(coalesce(e.leg, -1), " HASH_OF("e.request_id") "), " HASH_OF("e.request_id") " HAVING pg_catalog.count(*)" GT "1)" \
" SELECT DISTINCT x.aggregate_id FROM (" \
"  SELECT e.aggregate_id, pg_catalog.count(*) OVER (PARTITION BY CASE WHEN NOT " IN_ONE_PLACE " THEN e.aggregate_id END, e.request_id, e.leg) AS times" \
"    FROM " events " e JOIN alike a ON a.hash" EQ HASH_OF("e.request_id") ") x WHERE x.times" GT "1"

/*
 * The accounts of first legs whose legs do not sum to zero or were not taken back alike; those of legs whose
 * cause is no first leg, or that say neither their request nor their cause. All sides of a movement are written together, so a snapshot
 * has all or none; of one to which something belongs that came since the run began, some may be missing.
 */
#define MOVEMENTS_SQL(events, reversed) \
"WITH marked AS (" \
" SELECT e.cause_id, e.request_id, pg_catalog.sum(e.amount) AS total, pg_catalog.max(e.id) AS newest FROM " events " e" \
"  WHERE e.event_type" NE "'EventReversed' AND e.leg" GE "1 AND e.cause_id IS NOT NULL GROUP BY e.cause_id, e.request_id)," \
" taken AS (" \
" SELECT v.first_id, pg_catalog.sum(v.total) AS total, pg_catalog.max(v.newest) AS newest FROM " reversed " v GROUP BY v.first_id)," \
" caused AS MATERIALIZED ("	/* once for both that ask */ \
" SELECT l.cause_id, l.request_id, l.total, l.newest, f.id, f.aggregate_id, f.amount, coalesce(" IS_FIRST_LEG("f") " AND " SAME_REQUEST("l", "f") ", false) AS fits" \
"   FROM marked l JOIN " events " f ON f.id" EQ "l.cause_id)" \
" SELECT DISTINCT x.aggregate_id FROM (" \
"  SELECT l.aggregate_id FROM caused w JOIN " events " l ON l.cause_id" EQ "w.cause_id AND l.leg" GE "1 AND " SAME_REQUEST("l", "w") \
"   WHERE NOT w.fits" \
"  UNION ALL" \
"  SELECT c.aggregate_id FROM caused c LEFT JOIN taken t ON t.first_id" EQ "c.id" \
"   WHERE c.fits AND " IN_ONE_PLACE " AND (c.amount" PLUS "c.total" NE "0 OR t.total" NE "0)" \
"     AND NOT " HAS_COME("c.newest", "$4", "$6") " AND NOT " HAS_COME("t.newest", "$4", "$6") \
"  UNION ALL" \
"  SELECT e.aggregate_id FROM " events " e WHERE e.leg" GE "1 AND e.request_id IS NULL AND e.cause_id IS NULL) x"

#define PASS(sql, family) {sql("pointstore.event_store"), sql("events"), family}

const Pass pointstore_slice_pass = {
	SLICE_SQL("pointstore.event_store", "CAST(NULL AS pg_catalog.int8)", HEAP_MARK("e.version", "e.amount")),
	SLICE_SQL("events", "pg_catalog.count(*) " SEEN, HEAP_MARK("e.version", "e.amount") " " SEEN), SPOOL_ACCOUNTS, true
};
const Pass pointstore_account_passes[] = {
	PASS(ORDER_SQL, SPOOL_ACCOUNTS), {HOLDS_SQL("pointstore.event_store"), HOLDS_SQL("events"), SPOOL_ACCOUNTS, true},
	PASS(LOG_SQL, SPOOL_ACCOUNTS), PASS(REVERSALS_SQL, SPOOL_ACCOUNTS)
};
const Pass pointstore_link_passes[] = {
	PASS(REQUESTS_SQL, SPOOL_REQUESTS),
	{MOVEMENTS_SQL("pointstore.event_store", "(" REVERSED("pointstore.event_store") ")"), MOVEMENTS_SQL("events", "reversals"), SPOOL_MOVEMENTS}
};
const int	pointstore_n_account_passes = lengthof(pointstore_account_passes);
const int	pointstore_n_link_passes = lengthof(pointstore_link_passes);

/* The same among the causes of events that have come since. */
const char *const pointstore_new_links_sql =
"WITH recent AS (SELECT DISTINCT aggregate_id, cause_id, event_type" EQ "'EventReversed' AS reverses FROM pointstore.event_store"
"                 WHERE id" GT "$1 AND (event_type" EQ "'EventReversed' OR (leg" GE "1 AND cause_id IS NOT NULL))),"
" reversed AS (SELECT r.aggregate_id, o.id, o.amount, " FIRST_OF("o") " AS first_id"
"   FROM recent r LEFT JOIN pointstore.event_store o ON " IS_ORIGINAL("o", "r") " WHERE r.reverses),"
" moved AS MATERIALIZED (SELECT e.id, e.aggregate_id, e.event_type, e.amount, e.held, e.cause_id, e.metadata FROM pointstore.event_store e WHERE e.id" GT "$1 AND " IS_MOVEMENT("e") "),"
" ended AS (SELECT * FROM moved WHERE event_type" EQ "'MovementCancelled' OR (event_type" EQ "'MovementConfirmed' AND cause_id IS NOT NULL)),"
" first AS (SELECT cause_id AS id FROM recent WHERE NOT reverses UNION SELECT first_id FROM reversed)"
" SELECT DISTINCT x.aggregate_id FROM ("
"  SELECT f.aggregate_id FROM first n JOIN pointstore.event_store f ON f.id" EQ "n.id"
"   CROSS JOIN LATERAL (SELECT pg_catalog.sum(l.amount) AS moved, pg_catalog.sum(r.total) AS taken"
"                         FROM pointstore.event_store l LEFT JOIN LATERAL " TAKEN_OF("l.id") " r ON true"
"                        WHERE " IS_LEG("l", "f") ") t"
"   CROSS JOIN LATERAL " TAKEN_OF("f.id") " own"
"   WHERE " IN_ONE_PLACE " AND " IS_FIRST_LEG("f") " AND t.moved IS NOT NULL"
"     AND (f.amount" PLUS "t.moved" NE "0 OR coalesce(t.taken, 0)" PLUS "coalesce(own.total, 0)" NE "0)"
"  UNION ALL"
"  SELECT l.aggregate_id FROM pointstore.event_store l JOIN pointstore.event_store f ON f.id" EQ "l.cause_id"
"   WHERE l.id" GT "$1 AND l.leg" GE "1 AND l.event_type" NE "'EventReversed' AND NOT coalesce(" IS_FIRST_LEG("f") " AND " SAME_REQUEST("f", "l") ", false)"
"  UNION ALL"
"  SELECT e.aggregate_id FROM pointstore.event_store e WHERE e.id" GT "$1 AND e.leg" GE "1 AND e.request_id IS NULL AND e.cause_id IS NULL"
"  UNION ALL"
"  SELECT e.aggregate_id FROM pointstore.event_store e JOIN pointstore.event_store t ON t.request_id" EQ "e.request_id"
"   WHERE e.id" GT "$1 AND e.request_id IS NOT NULL AND coalesce(t.leg, -1)" EQ "coalesce(e.leg, -1)"
"     AND (t.id" LT "e.id OR (t.id" EQ "e.id AND t.aggregate_id" LT "e.aggregate_id)) AND " OF_ONE_REALM("t", "e")
"  UNION ALL"
"  SELECT c.aggregate_id FROM pointstore.event_store c LEFT JOIN pointstore.event_store p"
"      ON p.id" EQ "c.cause_id AND p.aggregate_id" EQ "c.aggregate_id AND p.event_type" EQ "'HoldPlaced'"
"   WHERE c.id" GT "$1 AND " IS_STEP("c") " AND c.event_type" NE "'HoldPlaced' AND " IS_OTHER_STEP("c", "p")
"  UNION ALL"
"  SELECT p.aggregate_id FROM (SELECT e.id, e.aggregate_id, e.held, e.metadata OPERATOR(pg_catalog.->>) 'hold_id' AS hold_id,"
"        e.metadata OPERATOR(pg_catalog.->>) 'expires_at' AS expires_at FROM pointstore.event_store e"
"         WHERE e.id" GT "$1 AND e.event_type" EQ "'HoldPlaced') p"
"    LEFT JOIN pointstore.hold h ON h.hold_id" EQ "p.hold_id AND " OF_ONE_REALM("h", "p") " LEFT JOIN pointstore.event_store c"
"      ON c.cause_id" EQ "p.id AND c.aggregate_id" EQ "p.aggregate_id AND " IS_STEP("c")
"   WHERE p.hold_id IS NOT NULL AND " IS_OTHER_HOLD("h", "p", "c.event_type", "c.amount")
"  UNION ALL"
"  SELECT c.aggregate_id FROM ended c LEFT JOIN pointstore.event_store t"
"      ON t.id" EQ "c.cause_id AND t.aggregate_id" EQ "c.aggregate_id AND t.event_type" EQ "'MovementTried'"
"   WHERE " IS_OTHER_END("c", "t")
"  UNION ALL"
"  SELECT t.aggregate_id FROM (SELECT id FROM moved WHERE event_type" EQ "'MovementTried' UNION SELECT cause_id FROM ended) n"
"    JOIN pointstore.event_store t ON t.id" EQ "n.id AND t.event_type" EQ "'MovementTried'"
"    LEFT JOIN pointstore.event_store c ON c.cause_id" EQ "t.id AND c.aggregate_id" EQ "t.aggregate_id AND " IS_MOVEMENT("c")
"    LEFT JOIN pointstore.participant_step d ON " IS_ROW_OF("d", "t.metadata")
"   WHERE (t.metadata OPERATOR(pg_catalog.->>) 'movement_id') IS NOT NULL AND " IS_OTHER_TRIED("d", "t", "c.id", "c.event_type")
"  UNION ALL"
"  SELECT t.aggregate_id FROM moved t LEFT JOIN pointstore.participant_step d ON " IS_ROW_OF("d", "t.metadata")
"   WHERE t.event_type" EQ "'MovementConfirmed' AND t.cause_id IS NULL AND (t.metadata OPERATOR(pg_catalog.->>) 'movement_id') IS NOT NULL AND " IS_OTHER_APPLIED("d", "t")
"  UNION ALL"
"  SELECT v.aggregate_id FROM reversed v LEFT JOIN LATERAL " TAKEN_OF("v.id") " r ON true"
"   WHERE v.id IS NULL OR " EXCEEDS("(CAST(0 AS pg_catalog.numeric)" MINUS "r.total)", "v.amount") ") x";
