/*-------------------------------------------------------------------------
 *
 * src/verify/rules.h
 *		What is wrong with a row or an event, in SQL: one definition for the account
 *		that is examined by itself and for all that a run goes through.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_VERIFY_RULES_H
#define POINTSTORE_VERIFY_RULES_H

/* Whether two values that should be alike are not; a null, where the table lets that be, is like nothing. */
#define DIFFERS(a, b) "NOT coalesce(" a EQ b ", false)"

/* The same, where null is a value. */
#define DIFFERS_OR_NULL(a, b) "coalesce(" a NE b ", (" a " IS NULL)" NE "(" b " IS NULL))"

/* Whether what was taken back is more than there was, or of the other sign. */
#define EXCEEDS(back, amount) \
" CASE WHEN " amount GE "0 THEN " back GT amount " OR " back LT "0 ELSE " back LT amount " OR " back GT "0 END"

/* Whether an event is what a reversal takes back. */
#define IS_ORIGINAL(o, r) \
"(" o ".id" EQ r ".cause_id AND " o ".aggregate_id" EQ r ".aggregate_id AND " o ".event_type" NE "'EventReversed')"

/* What reversals have moved of an event. */
#define TAKEN_OF(id) \
"(SELECT pg_catalog.sum(b.amount) AS total FROM pointstore.event_store b WHERE b.cause_id" EQ id " AND b.event_type" EQ "'EventReversed')"

/* Anybody may write such an event: it counts where it can have been one, and beside a reversal alone. */
#define SAYS_REVERSED(says, r, o) says EQ "pg_catalog.jsonb_build_object('version', " o ".version)" \
" AND NOT (" EXCEEDS("(CAST(0 AS pg_catalog.numeric)" MINUS r ".amount)", o ".amount") ")"

/* The status of a hold that an event of that type has closed. */
#define STATUS_AFTER(type) \
"CASE WHEN " type " IS NULL THEN 'open' WHEN " type EQ "'HoldConfirmed' THEN 'confirmed'" \
" WHEN " type EQ "'HoldCancelled' THEN 'cancelled' ELSE 'expired' END"

/* A time as money/hold_step.c writes it into an event's metadata. */
#define AS_IN_METADATA(at) \
"CASE WHEN pg_catalog.isfinite(" at ") THEN (pg_catalog.to_jsonb(pg_catalog.timezone('UTC', " at ")) OPERATOR(pg_catalog.#>>) CAST('{}' AS pg_catalog.text[]))" \
" OPERATOR(pg_catalog.||) '+00:00' ELSE CAST(" at " AS pg_catalog.text) END"

/*
 * Whether a hold's row h, null where it is gone, is not what the event p that placed it and, by c_type,
 * what closed it say of it. p has id, aggregate_id, held, hold_id and, where the event says so, expires_at.
 */
#define IS_OTHER_HOLD(h, p, c_type, c_amount) \
"(NOT coalesce(" h ".aggregate_id" EQ p ".aggregate_id AND " h ".event_id" EQ p ".id AND " h ".amount" EQ p ".held" \
" AND " h ".status" EQ STATUS_AFTER(c_type) " AND " h ".captured" EQ "(0" MINUS "coalesce(" c_amount ", 0)), false)" \
" OR (" p ".expires_at IS NOT NULL AND " DIFFERS(p ".expires_at", AS_IN_METADATA(h ".expires_at")) "))"

/* Whether what closes a hold is not what can close it. */
#define IS_OTHER_STEP(c, p) \
"(" p ".id IS NULL OR NOT coalesce(" c ".held" EQ "(0" MINUS p ".held) AND " c ".amount" LE "0 AND " c ".amount" GE c ".held, false))"

/* Whether what is incoming is not the sum that events come to; one that cannot be told is like anything. */
#define OTHER_INCOMING(found, by_events) \
"(coalesce(" by_events ", 0)" NE "'NaN' AND " DIFFERS(found, "coalesce(" by_events ", 0)") ")"

/* What a step reserves, as a credit above 0, by the event t that it was tried by; null where that does not say. */
#define TRIED_AMOUNT(t) "(CASE WHEN " t ".held" NE "0 THEN CAST(0 AS pg_catalog.numeric)" MINUS t ".held ELSE " STEP_AMOUNT(t ".metadata") " END)"

/* Whether what settles a step is not what can settle the event t that it was tried by. */
#define IS_OTHER_END(c, t) \
"(" t ".id IS NULL OR NOT coalesce(" c ".held" EQ "(0" MINUS t ".held) AND CASE WHEN " c ".event_type" EQ "'MovementCancelled' THEN " c ".amount" EQ "0" \
" ELSE " c ".amount" EQ "coalesce(" TRIED_AMOUNT(t) ", " c ".amount) END, false))"

/* The row of a step that an event's metadata names; no text is read as anything else. */
#define IS_ROW_OF(d, metadata) \
d ".movement_id" EQ "(" metadata " OPERATOR(pg_catalog.->>) 'movement_id') AND CAST(" d ".step AS pg_catalog.text)" EQ "(" metadata " OPERATOR(pg_catalog.->>) 'step')" \
" AND CAST(" d ".origin AS pg_catalog.text)" EQ "(" metadata " OPERATOR(pg_catalog.->>) 'origin')"

/* Whether that row, null where it is gone, is not what the event t says that the step was tried by, and what has settled it. */
#define IS_OTHER_TRIED(d, t, c_id, c_type) \
"NOT coalesce(" d ".aggregate_id" EQ t ".aggregate_id AND " d ".event_id" EQ t ".id AND " d ".amount" EQ "coalesce(" TRIED_AMOUNT(t) ", " d ".amount)" \
" AND CASE WHEN " c_id " IS NULL THEN " d ".status" EQ "'tried' ELSE " d ".end_event_id" EQ c_id \
" AND " d ".status" EQ "CASE WHEN " c_type EQ "'MovementConfirmed' THEN 'confirmed' ELSE 'cancelled' END END, false)"

/* Whether it is not what an event says that has applied a step at once. */
#define IS_OTHER_APPLIED(d, t) \
"NOT coalesce(" d ".aggregate_id" EQ t ".aggregate_id AND " d ".event_id" EQ t ".id AND " d ".amount" EQ t ".amount AND " d ".status" EQ "'confirmed', false)"

/* Whether an account's row a, under a kind of unit k, is not what its log says last; of what it does not say nothing is known. */
#define IS_OTHER_ACCOUNT(a, unit, after) \
"(NOT coalesce(" a ".kind" EQ "(" after " OPERATOR(pg_catalog.->>) 'kind'), (" after " OPERATOR(pg_catalog.->>) 'kind') IS NULL)" \
" OR NOT coalesce(" a ".status" EQ "(" after " OPERATOR(pg_catalog.->>) 'status'), (" after " OPERATOR(pg_catalog.->>) 'status') IS NULL)" \
" OR NOT coalesce(" unit EQ "(" after " OPERATOR(pg_catalog.->>) 'unit'), (" after " OPERATOR(pg_catalog.->>) 'unit') IS NULL))"

#define AS_BIGINT(number) \
"CAST(CASE WHEN " number GE "-9223372036854775808 AND " number LE "9223372036854775807 THEN " number " END AS pg_catalog.int8)"

#endif
