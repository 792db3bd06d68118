/*-------------------------------------------------------------------------
 *
 * src/ground/sql.h
 *		What the SQL text in C is made of.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_SQL_H
#define POINTSTORE_SQL_H

/* operators, whatever the search_path */
#define EQ " OPERATOR(pg_catalog.=) "
#define NE " OPERATOR(pg_catalog.<>) "
#define LT " OPERATOR(pg_catalog.<) "
#define LE " OPERATOR(pg_catalog.<=) "
#define GT " OPERATOR(pg_catalog.>) "
#define GE " OPERATOR(pg_catalog.>=) "
#define PLUS " OPERATOR(pg_catalog.+) "
#define MINUS " OPERATOR(pg_catalog.-) "

/* True, but where a statement is executed in a shard of a distributed store, and sees the accounts of that alone (placed.c). */
#define IN_ONE_PLACE "pg_catalog.bool 'on'"
#define IN_A_SHARD "pg_catalog.bool 'off'"
/* Whether a block is of the feed of where we stay: true, but in a shard that others were split from. */
#define OF_THIS_FEED "pg_catalog.bool 'yes'"
/* The columns that a row has besides which is kept for a shard of a distributed store, and what is in them: the first of a list. */
#define PLACE_COLUMN "/* place */ "
#define PLACE_VALUE "/* this place */ "
#define LOG_COLUMNS "/* place, id */ "
#define LOG_VALUES "/* this place, next id */ "
/* What is found of movements over nodes, by another way than what a shard has by itself (across.c). */
#define IS_ACROSS(code) "(NOT " IN_ONE_PLACE " AND " code EQ "'transfer_unbalanced')"
/* Whether names of requests and holds of two rows are of one realm: that of a store, or of an account of a distributed one. */
#define OF_ONE_REALM(a, b) "(" IN_ONE_PLACE " OR " a ".aggregate_id" EQ b ".aggregate_id)"

/* Whether a run was of what it is kept with now: not one of before the store was distributed, whose place is ''. A plain store's runs have none. */
#define IS_OF_HERE(run) "(pg_catalog.to_jsonb(" run ") OPERATOR(pg_catalog.->>) 'place') IS DISTINCT FROM ''"

/* a number that arithmetic does not overflow */
#define NUMERIC(x) "CAST(" x " AS pg_catalog.numeric)"

/*
 * The legs of a movement: what caused the others is the first; these name it, and
 * are of the same request. An event whose caller only names a cause is no leg. A first leg has no cause itself,
 * but for a confirmed hold's, which is its placing.
 */
#define IS_FIRST_LEG(f) "(" f ".leg" EQ "0 AND (" f ".cause_id IS NULL OR " f ".event_type" EQ "'HoldConfirmed'))"
#define IS_LEG(l, f) "(" l ".cause_id" EQ f ".id AND " l ".leg" GE "1 AND " l ".event_type" NE "'EventReversed' AND " SAME_REQUEST(l, f) ")"
/* not as two conditions, which without statistics look worth an index: that of all legs without a request */
#define SAME_REQUEST(a, b) "coalesce(" a ".request_id, '')" EQ "coalesce(" b ".request_id, '')"

/* The first leg of the movement that an event is a leg of; the event itself where it is none. */
#define FIRST_OF(e) "CASE WHEN " e ".leg" GE "1 AND " e ".cause_id IS NOT NULL THEN " e ".cause_id ELSE " e ".id END"

/* The stamp of a snapshot: of what has made it, and of the event that it stands at. */
#define STAMP_WITH(made_by, id) "(" made_by " OPERATOR(pg_catalog.||) ':' OPERATOR(pg_catalog.||) CAST(" id " AS pg_catalog.text))"

/* What tells an account's events apart in any order, index.c has the same in C. */
#define HEAP_MARK(version, amount) "pg_catalog.bit_xor(pg_catalog.hashint8extended(" amount ", " version "))"

/* What a reversal says, in an event that says it is none: its type was altered, where that takes back too much. */
#define SAYS_AS_REVERSAL(e) \
"CASE WHEN " e ".cause_id IS NOT NULL AND " e ".event_type" NE "ALL (ARRAY['EventReversed', 'HoldConfirmed', 'HoldCancelled', 'HoldExpired'])" \
" AND NOT " IS_MOVEMENT(e) " AND " e ".payload OPERATOR(pg_catalog.?) 'version' THEN " e ".payload END"

/*
 * The last id that was drawn; null: none was since the sequence was made or set. Not last_value as a SELECT from
 * the sequence sees it: while one is drawn that may be the one logged beforehand, 32 ahead, which nobody has drawn.
 */
#define LAST_DRAWN "pg_catalog.pg_sequence_last_value(CAST('pointstore.event_store_id_seq' AS pg_catalog.regclass))"

/*
 * Whether an id was drawn after the last one then was: one beyond the sequence was not. Those of events that a
 * subscription brings have nothing to do with it.
 */
#define HAS_COME(id, last, fed) \
"coalesce(" id GT last " AND (" fed " OR " id LE "(SELECT last_value FROM pointstore.event_store_id_seq)), false)"

/* A step of a hold. */
#define IS_STEP(e) e ".event_type" EQ "ANY (ARRAY['HoldPlaced', 'HoldConfirmed', 'HoldCancelled', 'HoldExpired'])"

/* An event of a movement's step that reserves, or settles what is reserved. */
#define IS_MOVEMENT(e) e ".event_type" EQ "ANY (ARRAY['MovementTried', 'MovementConfirmed', 'MovementCancelled'])"

/* The amount of the step that its events' metadata says; null: it does not, for a user's trigger may write metadata. */
#define STEP_AMOUNT(metadata) \
"(CASE WHEN pg_catalog.jsonb_typeof(" metadata " OPERATOR(pg_catalog.->) 'amount')" EQ "'number'" \
" THEN CAST((" metadata " OPERATOR(pg_catalog.->) 'amount') AS pg_catalog.numeric) END)"

/*
 * What an event changes incoming by: null, of most, nothing; NaN where its metadata does not say. What a step
 * has held is a debit's, and no credit. Types are compared of the few alone that can be of a movement.
 */
#define INCOMING_OF(e) \
"(CASE WHEN " e ".amount" EQ "0 OR " e ".cause_id IS NOT NULL THEN CASE WHEN NOT " IS_MOVEMENT(e) " OR " e ".held" NE "0 THEN NULL" \
" WHEN " e ".event_type" EQ "'MovementTried' THEN coalesce(" STEP_AMOUNT(e ".metadata") ", 'NaN')" \
" WHEN " e ".event_type" EQ "'MovementCancelled' THEN 0" MINUS "coalesce(" STEP_AMOUNT(e ".metadata") ", 'NaN')" \
" WHEN " e ".cause_id IS NOT NULL THEN CAST(0 AS pg_catalog.numeric)" MINUS e ".amount END END)"

/* Whether an open finding can be seen again by a full run alone. */
#define IS_FOR_FULL_RUNS "(detail OPERATOR(pg_catalog.?) 'hidden' OR code" EQ "'feed_mismatch')"

/* Whether a finding is about a movement, and not about an account or the store: its aggregate_id is the movement's then. */
#define OF_MOVEMENTS(code) code EQ \
"ANY (ARRAY['movement_lost', 'movement_doubled', 'movement_one_legged', 'movement_open', 'movement_unknown', 'movement_accepted'])"

/*
 * Entries of account_log that say what an account's state is when they are made: others have it from the row. The last of them
 * counts while the account's version is the one that it was then (LOGS_STATE); after that its last event does.
 */
#define SAYS_STATE(l) "(" l ".after OPERATOR(pg_catalog.?) 'state' AND " l ".action" EQ "ANY (ARRAY['open', 'set_kind', 'rebuild', 'repair']))"
#define LOGS_STATE(after, version) "coalesce((" after " OPERATOR(pg_catalog.->>) 'version')" EQ "CAST(" version " AS pg_catalog.text), false)"
#define LOGGED_STATE(after) "(" after " OPERATOR(pg_catalog.->>) 'state')"
/* The state at a version, by the last such entry and by the event of that version. */
#define STATE_AT(version, after, of_event) "CASE WHEN " LOGS_STATE(after, version) " THEN " LOGGED_STATE(after) " ELSE " of_event " END"

/* Whether two states are not the same; null and '' are none. */
#define IS_OTHER_STATE(a, b) "(coalesce(" a ", '')" NE "coalesce(" b ", ''))"

#define HASH_OF(x) "pg_catalog.hashtextextended(" x ", 0)"

/* The part, of so many, that a text or an id is of by its hash. */
#define PART_OF_TEXT(x, parts) "pg_catalog.mod(pg_catalog.hashtextextended(coalesce(" x ", ''), 0) OPERATOR(pg_catalog.&) 9223372036854775807, " parts ")"
#define PART_OF_ID(x, parts) "pg_catalog.mod(pg_catalog.hashint8extended(coalesce(" x ", 0), 0) OPERATOR(pg_catalog.&) 9223372036854775807, " parts ")"

#endif
