/*-------------------------------------------------------------------------
 *
 * src/verify/repair.c
 *		What is done about findings: by the policy of the account's kind, or by hand, repair().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"

#include "account/account.h"
#include "account/log.h"
#include "account/status.h"
#include "append/write.h"
#include "ground/detail.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/placed.h"
#include "ground/plan.h"
#include "ground/pointstore.h"
#include "ground/sql.h"
#include "ground/step.h"
#include "ground/store.h"
#include "verify/disagreement.h"
#include "verify/examine.h"
#include "verify/finding.h"
#include "verify/index.h"
#include "verify/rebuild.h"
#include "verify/repair.h"
#include "verify/runstate.h"

PG_FUNCTION_INFO_V1(pointstore_repair);

static int	max_auto_actions = 100;

static void repair(Case *wrong, int64 finding, const char *source);
static bool has_failed_before(const Case *wrong);
static bool follow_policy(void *arg);
static void put_right(Case *wrong, text *reason);
static void require_right(text *id);
static void log_as_it_is(text *id);
static bool is_shut(text *id);
static bool can_adjust(const Findings *found);
static void adjust(text *id, text *reason);
static void refuse_lies(text *id);
static void lock_whole_account(text *id);

/* Called once when the library is loaded. */
void
pointstore_repair_init(void)
{
	DefineCustomIntVariable("pointstore.max_auto_actions",
							"Accounts that one reconciliation may repair or freeze by itself; the rest is reported.",
							NULL, &max_auto_actions, 100, 0, INT_MAX, PGC_SUSET, 0, NULL, NULL, NULL);
}

/* repair(finding_id, source_of_truth) */
Datum
pointstore_repair(PG_FUNCTION_ARGS)
{
	char	   *source;
	Case		wrong = {.by_heap = true};
	PointstoreScope owner;
	PointstorePlace before;

	pointstore_check_arguments(fcinfo, 2);
	source = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("finding_id must not be null")));
	if (source != NULL && strcmp(source, "events") != 0 && strcmp(source, "balance") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("source_of_truth must be events or balance, is \"%s\"", source)));
	PreventCommandIfReadOnly("repair()");
	pointstore_act_as_owner(&owner);
	before = pointstore_here();
	PG_TRY();
	{
		wrong.id = pointstore_account_of_finding(PG_GETARG_INT64(0), &owner);
		pointstore_go_to(wrong.id);
		repair(&wrong, PG_GETARG_INT64(0), source);
	}
	PG_FINALLY();
	{
		pointstore_return_to(before);
	}
	PG_END_TRY();
	pointstore_act_as_caller(&owner);
	PG_RETURN_TEXT_P(cstring_to_text(wrong.found->n == 0 ? "nothing was wrong any more" :
									 !wrong.policy.by_events ? "the events were brought to the balance by BalanceAdjusted" :
									 "the balance row was set to what the events say"));
}

/* By an operator's hand, where the account is: what is wrong with it now is put right. */
static void
repair(Case *wrong, int64 finding, const char *source)
{
	pointstore_refuse_disagreement(finding);
	refuse_lies(wrong->id);
	lock_whole_account(wrong->id);
	wrong->policy = pointstore_read_policy(wrong->id);
	if (source != NULL)
		wrong->policy.by_events = strcmp(source, "events") == 0;
	wrong->found = pointstore_examine_now(wrong->id);
	if (wrong->found->n > 0)
		put_right(wrong, NULL);
	pointstore_resolve(wrong, &(Findings) {0}, pointstore_role_name(GetOuterUserId()), wrong->found->n > 0 ? "repaired" : NULL);
}

/*
 * What the kind's policy does about a locked account: "reported", "repaired" or
 * "frozen". What is critical is not repaired; when too many accounts have been
 * touched in this run the rest is reported, and so is what cannot be put right.
 */
const char *
pointstore_act(Case *wrong)
{
	Run		   *run = wrong->run;
	Policy	   *policy = &wrong->policy;
	ErrorData  *error;

	/* a store that lacks a key or a trigger is not written to, nor one that is another's copy */
	if (!pointstore_store_is_complete() || run->fed)
		return "reported";
	*policy = pointstore_read_policy(wrong->id);
	if (policy->freeze ? is_shut(wrong->id) : !policy->repair || wrong->not_compared || !pointstore_can_repair(wrong))
		return "reported";
	if (run->acted >= max_auto_actions)
	{
		if (!run->breaker)
			ereport(WARNING,
					(errmsg("reconciliation %lld: %s", (long long) run->id, RUN_TOO_MANY)));
		run->breaker = true;
		return "reported";
	}
	error = pointstore_attempt(follow_policy, wrong);
	if (error != NULL)
	{
		wrong->failure = error->message;
		if (!has_failed_before(wrong))
			ereport(WARNING,
					(errcode(error->sqlerrcode),
					 errmsg("account \"%s\" was not %s: %s", pointstore_cstring(wrong->id),
							policy->freeze ? "frozen" : "repaired", error->message)));
		return "reported";
	}
	wrong->acted = 1;
	return policy->freeze ? "frozen" : "repaired";
}

/* Whether that is how it went already when a finding of the account, which is open still, was seen last. */
static bool
has_failed_before(const Case *wrong)
{
	static PointstorePlan plan = {
		.sql = "SELECT FROM pointstore.finding WHERE aggregate_id" EQ "$1 AND resolved_at IS NULL"
		" AND (detail OPERATOR(pg_catalog.->>) 'failed')" EQ "$2",
		.nargs = 2, .argtypes = {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {PointerGetDatum(wrong->id), CStringGetTextDatum(wrong->failure)};
	bool		before;

	SPI_connect();
	pointstore_execute(&plan, values, NULL, false);
	before = SPI_processed > 0;
	SPI_finish();
	return before;
}

/* Freezes an account, or puts it right altogether. */
static bool
follow_policy(void *arg)
{
	Case	   *wrong = arg;
	text	   *reason = cstring_to_text(OUR_REASON);

	if (wrong->policy.freeze)
		pointstore_freeze(wrong->id, reason);
	else
		put_right(wrong, reason);
	return true;
}

/*
 * Sets the row to what the events say, or brings the events to the balance: PS011
 * where that cannot be the truth, or something stays wrong. The keys agree with the heaps.
 */
static void
put_right(Case *wrong, text *reason)
{
	Account		before;
	Account		after;

	if (wrong->policy.by_events)
	{
		if (!pointstore_rebuild(wrong->id, &(Rebuild) {.action = "repair", .reason = reason, .unchecked = true}, &before, &after))
			log_as_it_is(wrong->id);
		pointstore_forget_proof(wrong->id);
	}
	else if (can_adjust(wrong->found))
		adjust(wrong->id, reason);
	else
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_NOT_ALLOWED),
				 errmsg("the balance of account \"%s\" cannot be the truth", pointstore_cstring(wrong->id)),
				 pointstore_detail_account(wrong->id),
				 errhint("Only a balance that is off, in an account that is in order otherwise, is taken for it.")));
	require_right(wrong->id);
}

/* PS011 where something is wrong with an account still. */
static void
require_right(text *id)
{
	Findings   *left = pointstore_examine_now(id);

	if (left->n > 0)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_NOT_ALLOWED),
				 errmsg("account \"%s\" cannot be repaired: its %s at version %lld would stay", pointstore_cstring(id),
						left->findings[0].code, (long long) left->findings[0].version),
				 pointstore_detail_figures(id, "version", left->findings[0].version, NULL, 0)));
}

/* The operator's word that an account is right as it is, where what was wrong is that events are gone. */
static void
log_as_it_is(text *id)
{
	Account		account;

	pointstore_read_account(&account, id, pointstore_push_snapshot(), LOCK_NOTHING);
	if (account.exists)
		pointstore_log("repair", cstring_to_text("taken as it is"), &account, &account);
	pointstore_release_account(&account);
	PopActiveSnapshot();
}

/* The policy of the account's kind; of a missing account the kind it had by the log, else the default kind. */
Policy
pointstore_read_policy(text *id)
{
	static PointstorePlan plan = {
		.sql = "SELECT on_mismatch" EQ "'freeze', on_mismatch" EQ "'repair', source_of_truth" EQ "'events' FROM pointstore.account_kind"
		" WHERE kind" EQ "coalesce((SELECT kind FROM pointstore.balance WHERE aggregate_id" EQ "$1 LIMIT 1),"
		"                          (SELECT kind FROM pointstore.pure_account WHERE aggregate_id" EQ "$1 LIMIT 1),"
		"                          (SELECT after OPERATOR(pg_catalog.->>) 'kind' FROM pointstore.account_log"
		"                            WHERE aggregate_id" EQ "$1 AND after IS NOT NULL ORDER BY id DESC LIMIT 1), 'default')",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Datum		value = PointerGetDatum(id);
	Policy		policy = {.by_events = true};
	bool		isnull;

	SPI_connect();
	pointstore_execute(&plan, &value, NULL, false);
	if (SPI_processed > 0)
	{
		policy.freeze = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
		policy.repair = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
		policy.by_events = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &isnull));
	}
	SPI_finish();
	return policy;
}

/* Whether an account is frozen or closed already, or has no row to freeze. */
static bool
is_shut(text *id)
{
	Account		account;
	bool		shut;

	pointstore_read_account(&account, id, GetActiveSnapshot(), LOCK_NOTHING);
	shut = !account.exists || account.status != STATUS_OPEN;
	pointstore_release_account(&account);
	return shut;
}

/* Whether what is wrong with an account is a row that can be set right. */
bool
pointstore_can_repair(const Case *wrong)
{
	static const char *const codes[] = {"balance_mismatch", "version_mismatch", "held_mismatch", "missing_balance", "orphan_balance", "state_mismatch"};
	const Findings *found = wrong->found;
	int			i;

	if (!wrong->policy.by_events)
		return can_adjust(found);
	for (i = 0; i < found->n; i++)
		if (pointstore_place(cstring_to_text(found->findings[i].code), codes, lengthof(codes)) < 0)
			return false;
	return true;
}

/* Only a balance that is off, in an account that is in order otherwise, can be the truth. */
static bool
can_adjust(const Findings *found)
{
	return found->n == 1 && strcmp(found->findings[0].code, "balance_mismatch") == 0;
}

/* Brings the events of a locked account to its balance. */
static void
adjust(text *id, text *reason)
{
	static PointstorePlan plan = {
		.sql = "SELECT pg_catalog.max(version), CAST($2" MINUS "pg_catalog.sum(amount) AS pg_catalog.int8)"
		" FROM pointstore.event_store WHERE aggregate_id" EQ "$1",
		.nargs = 2, .argtypes = {TEXTOID, INT8OID}
	};
	Snapshot	snapshot = pointstore_push_snapshot();
	Account		before;
	Account		after;
	Datum		values[2];
	int64		last;
	int64		amount;
	bool		isnull;

	pointstore_read_account(&before, id, snapshot, LOCK_BALANCE);
	after = before;
	values[0] = PointerGetDatum(id);
	values[1] = Int64GetDatum(before.balance);
	SPI_connect();
	pointstore_execute(&plan, values, NULL, false);
	last = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	amount = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	SPI_finish();
	pointstore_append_adjustment(&after, last, amount,
								 DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{\"by\": \"reconciliation\"}"))));
	pointstore_log("repair", reason, &before, &after);
	pointstore_release_account(&before);
	PopActiveSnapshot();
}

/* PS011 where an index says of an account something else than its table. */
static void
refuse_lies(text *id)
{
	Snapshot	snapshot = pointstore_push_snapshot();
	Datum		value = PointerGetDatum(id);
	HeapView	heap;

	pointstore_view_heaps(&value, 1, &heap);
	pointstore_refuse_lie(id, pointstore_find_lie(id, &heap, snapshot));
	PopActiveSnapshot();
}

/* Locks whatever row an account has. */
static void
lock_whole_account(text *id)
{
	Account		account;

	pointstore_read_account(&account, id, pointstore_push_snapshot(), LOCK_ACCOUNT);
	pointstore_release_account(&account);
	PopActiveSnapshot();
}
