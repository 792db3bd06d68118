/*-------------------------------------------------------------------------
 *
 * src/append/refusal.c
 *		The errors that refusals are, and what they tell.
 *
 * The message of a refusal is for people; its DETAIL is for programs: key=value,
 * separated by comma and blank, with the account first. Values that are text
 * stand as they are, or, where they hold anything that would end them, as JSON
 * strings (pointstore_detail). What else is refused, in every form of a call, has
 * a sentence there.
 *
 * Whoever refuses fills in all that is told: a refusal may have been decided in
 * another process (message.c), where its account is gone and the settings by which
 * values are printed are others.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/hsearch.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "account/held.h"
#include "account/kind.h"
#include "account/opening.h"
#include "append/refusal.h"
#include "ground/compat.h"
#include "ground/detail.h"
#include "ground/name.h"
#include "ground/pointstore.h"

/* bytes of a value that is told */
#define TOLD_BYTES 200

static void begin_detail(StringInfo detail, const ProposedEvent *event);
static const char *field_value(const ProposedEvent *event, const char *field);
pg_noreturn static void raise_mismatch(const ProposedEvent *event, const Decision *decision, StringInfo detail);
pg_noreturn static void raise_insufficient(const ProposedEvent *event, const Decision *decision, StringInfo detail);
pg_noreturn static void raise_limit(const ProposedEvent *event, const Decision *decision, StringInfo detail);
pg_noreturn static void raise_missing(const ProposedEvent *event, const Decision *decision, StringInfo detail);
pg_noreturn static void raise_transition(const ProposedEvent *event, const Decision *decision, StringInfo detail);
pg_noreturn static void raise_not_open(const ProposedEvent *event, const Decision *decision, StringInfo detail);
pg_noreturn static void raise_units(const ProposedEvent *event, const Decision *decision, StringInfo detail);
pg_noreturn static void raise_not_allowed(const ProposedEvent *event, const Decision *decision, StringInfo detail);
pg_noreturn static void raise_lease_lost(const ProposedEvent *event, const Decision *decision, StringInfo detail);
pg_noreturn static void raise_in_every_form(const ProposedEvent *event, const Decision *decision);

/* The values of the field in which an event differs from what its request has written. */
void
pointstore_tell_difference(const ProposedEvent *event, Decision *decision, const ProposedEvent *stored)
{
	decision->asked = field_value(event, decision->mismatch);
	decision->stored = field_value(stored, decision->mismatch);
}

/* As text, whatever the session's settings. */
static const char *
field_value(const ProposedEvent *event, const char *field)
{
	char		at[MAXDATELEN + 1];
	int			utc = 0;

	if (strcmp(field, "aggregate_id") == 0)
		return pointstore_clipped(pointstore_cstring(event->aggregate_id));
	if (strcmp(field, "event_type") == 0)
		return pointstore_clipped(pointstore_cstring(event->event_type));
	if (strcmp(field, "payload") == 0)
		return pointstore_clipped(JsonbToCString(NULL, &event->payload->root, VARSIZE(event->payload)));
	if (strcmp(field, "occurred_at") == 0)
	{
		JsonEncodeDateTime(at, TimestampTzGetDatum(event->occurred_at), TIMESTAMPTZOID, &utc);
		return pstrdup(at);
	}
	if (strcmp(field, "payload_version") == 0)
		return psprintf("%d", pointstore_payload_version(event));
	if (strcmp(field, "leg") == 0)
		return psprintf("%d", event->leg);
	return psprintf(INT64_FORMAT, event->amount);
}

/* So much of a value as is told. */
const char *
pointstore_clipped(const char *value)
{
	int			length = strlen(value);

	if (length <= TOLD_BYTES)
		return value;
	return psprintf("%.*s...", pg_mbcliplen(value, length, TOLD_BYTES - 3), value);
}

/* What a balanced batch appends sums to zero in each unit, as its events' accounts count: 22023. NULL: an event is not appended. */
void
pointstore_check_sums(const Batch *batch, text *const *units)
{
	typedef struct UnitSum
	{
		text	   *unit;		/* the key */
		int128		sum;
	} UnitSum;
	HTAB	   *sums = pointstore_text_table("pointstore sums of units", sizeof(UnitSum), CurrentMemoryContext);
	bool		found;
	int			i;

	for (i = 0; i < batch->nevents; i++)
		if (units[i] != NULL)
		{
			UnitSum    *entry = hash_search(sums, &units[i], HASH_ENTER, &found);

			entry->sum = (found ? entry->sum : 0) + batch->proposals[i].amount;
		}
	for (i = 0; i < batch->nevents; i++)
		if (units[i] != NULL && ((UnitSum *) hash_search(sums, &units[i], HASH_FIND, NULL))->sum != 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the amounts of a balanced batch do not sum to zero"),
					 errdetail("Unit \"%s\".", pointstore_cstring(units[i]))));
	hash_destroy(sums);
}

/* Raises a refusal as the error it stands for. */
void
pointstore_raise(const ProposedEvent *event, const Decision *decision)
{
	StringInfoData detail;

	begin_detail(&detail, event);
	switch (decision->outcome)
	{
		case OUTCOME_VERSION_CONFLICT:
			pointstore_detail_number(&detail, "expected_version", event->expected_version);
			pointstore_detail_number(&detail, "actual_version", decision->version);
			ereport(ERROR,
					(errcode(ERRCODE_POINTSTORE_VERSION_CONFLICT),
					 errmsg("version conflict on account \"%s\": expected %lld, actual %lld",
							pointstore_cstring(event->aggregate_id),
							(long long) event->expected_version, (long long) decision->version),
					 errdetail_internal("%s", detail.data),
					 errhint("Read the account again, and decide anew.")));
			break;
		case OUTCOME_REQUEST_MISMATCH:
			raise_mismatch(event, decision, &detail);
		case OUTCOME_INSUFFICIENT_BALANCE:
			raise_insufficient(event, decision, &detail);
		case OUTCOME_BALANCE_LIMIT:
			raise_limit(event, decision, &detail);
		case OUTCOME_ACCOUNT_FROZEN:
			ereport(ERROR,
					(errcode(ERRCODE_POINTSTORE_ACCOUNT_FROZEN),
					 errmsg("account \"%s\" is frozen", pointstore_cstring(event->aggregate_id)),
					 errdetail_internal("%s", detail.data)));
			break;
		case OUTCOME_ACCOUNT_CLOSED:
			ereport(ERROR,
					(errcode(ERRCODE_POINTSTORE_ACCOUNT_CLOSED),
					 errmsg("account \"%s\" is closed", pointstore_cstring(event->aggregate_id)),
					 errdetail_internal("%s", detail.data)));
			break;
		case OUTCOME_ACCOUNT_MISSING:
			raise_missing(event, decision, &detail);
		case OUTCOME_NOT_ALLOWED:
			if (decision->reason == REASON_UNITS)
				raise_units(event, decision, &detail);
			raise_not_allowed(event, decision, &detail);
		case OUTCOME_TRANSITION_NOT_ALLOWED:
			raise_transition(event, decision, &detail);
		case OUTCOME_LEASE_LOST:
			raise_lease_lost(event, decision, &detail);
		case OUTCOME_HOLD_NOT_OPEN:
			raise_not_open(event, decision, &detail);
		default:
			raise_in_every_form(event, decision);
	}
}

/* What is told of every refusal: the account, where one is known, the element of a batch, the hold. */
static void
begin_detail(StringInfo detail, const ProposedEvent *event)
{
	initStringInfo(detail);
	if (event->aggregate_id != NULL && VARSIZE_ANY_EXHDR(event->aggregate_id) > 0)
		pointstore_detail(detail, "aggregate_id", pointstore_cstring(event->aggregate_id));
	if (event->element > 0)
		pointstore_detail_number(detail, "element", event->element - 1);
	if (event->hold != NULL && event->hold->id != NULL)
		pointstore_detail(detail, "hold_id", pointstore_cstring(event->hold->id));
}

/* PS002, with what is asked and what was applied. */
static void
raise_mismatch(const ProposedEvent *event, const Decision *decision, StringInfo detail)
{
	char	   *id = pointstore_cstring(event->aggregate_id);
	const char *name = pointstore_cstring(event->hold ? event->hold->id : event->request_id);
	const char *where = decision->applied_version > 0 ? psprintf(" in version " INT64_FORMAT, decision->applied_version) : "";

	if (event->hold == NULL)
		pointstore_detail(detail, "request_id", name);
	pointstore_detail(detail, "field", decision->mismatch);
	pointstore_detail(detail, "requested", decision->asked);
	pointstore_detail(detail, "stored", decision->stored);
	if (decision->applied_version > 0)
		pointstore_detail_number(detail, "version", decision->applied_version);
	ereport(ERROR,
			(errcode(ERRCODE_POINTSTORE_REQUEST_MISMATCH),
			 event->hold != NULL && strcmp(pointstore_cstring(event->event_type), "HoldPlaced") != 0 ?
			 errmsg("hold \"%s\" of account \"%s\" is another: %s is %s, was %s%s",
					name, id, decision->mismatch, decision->asked, decision->stored, where) :
			 errmsg("%s \"%s\" for account \"%s\" was used for something else: %s is %s, was %s%s",
					event->hold ? "hold" : "request", name, id, decision->mismatch, decision->asked, decision->stored, where),
			 errdetail_internal("%s", detail->data)));
}

/* PS003 */
static void
raise_insufficient(const ProposedEvent *event, const Decision *decision, StringInfo detail)
{
	const char *id = pointstore_cstring(event->aggregate_id);
	int64		requested = event->amount - event->held;

	pointstore_detail_number(detail, "available", decision->available);
	pointstore_detail_number(detail, "floor", decision->limit);
	pointstore_detail_number(detail, "requested", requested);
	ereport(ERROR,
			(errcode(ERRCODE_POINTSTORE_INSUFFICIENT_BALANCE),
			 decision->limit == 0 ?
			 errmsg("insufficient balance on account \"%s\": available %lld, requested %lld", id,
					(long long) decision->available, (long long) requested) :
			 errmsg("insufficient balance on account \"%s\": available %lld, requested %lld, floor %lld", id,
					(long long) decision->available, (long long) requested, (long long) decision->limit),
			 errdetail_internal("%s", detail->data)));
}

/* PS009 */
static void
raise_limit(const ProposedEvent *event, const Decision *decision, StringInfo detail)
{
	const char *id = pointstore_cstring(event->aggregate_id);
	int64		requested = event->amount + event->incoming;

	pointstore_detail_number(detail, "balance", decision->balance);
	pointstore_detail_number(detail, "ceiling", decision->limit);
	pointstore_detail_number(detail, "requested", requested);
	if (decision->reserved != 0)
		pointstore_detail_number(detail, "incoming", decision->reserved);
	ereport(ERROR,
			(errcode(ERRCODE_POINTSTORE_BALANCE_LIMIT),
			 decision->reserved == 0 ?
			 errmsg("balance limit of account \"%s\": balance %lld, requested %lld, at most %lld", id,
					(long long) decision->balance, (long long) requested, (long long) decision->limit) :
			 errmsg("balance limit of account \"%s\": balance %lld, incoming %lld, requested %lld, at most %lld", id,
					(long long) decision->balance, (long long) decision->reserved, (long long) requested, (long long) decision->limit),
			 errdetail_internal("%s", detail->data)));
}

/* PS008 */
static void
raise_missing(const ProposedEvent *event, const Decision *decision, StringInfo detail)
{
	if (decision->reason == REASON_NO_HOLD)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_ACCOUNT_MISSING),
				 errmsg("hold \"%s\" is missing", pointstore_cstring(event->hold->id)),
				 errdetail_internal("%s", detail->data)));
	if (decision->reason == REASON_NO_EVENT)
	{
		pointstore_detail_number(detail, "version", decision->applied_version);
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_ACCOUNT_MISSING),
				 errmsg("account \"%s\" has no version %lld", pointstore_cstring(event->aggregate_id),
						(long long) decision->applied_version),
				 errdetail_internal("%s", detail->data)));
	}
	ereport(ERROR,
			(errcode(ERRCODE_POINTSTORE_ACCOUNT_MISSING),
			 errmsg("account \"%s\" is missing", pointstore_cstring(event->aggregate_id)),
			 errdetail_internal("%s", detail->data),
			 errhint("Its kind does not open accounts by an append: open_account() does.")));
}

/* PS012, with the state and the types of events that it allows. */
static void
raise_transition(const ProposedEvent *event, const Decision *decision, StringInfo detail)
{
	const char *id = pointstore_cstring(event->aggregate_id);
	const char *type = pointstore_cstring(event->event_type);
	bool		begun = decision->stored[0] != '\0';

	pointstore_detail(detail, "event_type", type);
	pointstore_detail(detail, "state", decision->stored);
	pointstore_detail(detail, "allowed", decision->asked);
	ereport(ERROR,
			(errcode(ERRCODE_POINTSTORE_TRANSITION_NOT_ALLOWED),
			 begun ? errmsg("account \"%s\" is in state \"%s\", which does not allow \"%s\"", id, decision->stored, type) :
			 errmsg("account \"%s\" is in no state, which does not allow \"%s\"", id, type),
			 errdetail_internal("%s", detail->data)));
}

/* PS007, which says what became of the hold. */
static void
raise_not_open(const ProposedEvent *event, const Decision *decision, StringInfo detail)
{
	const Hold *hold = event->hold;
	const char *status = pointstore_hold_status[hold->has_expired ? HOLD_EXPIRED : hold->status];
	bool		known = event->aggregate_id != NULL && VARSIZE_ANY_EXHDR(event->aggregate_id) > 0;

	pointstore_detail(detail, "status", status);
	ereport(ERROR,
			(errcode(ERRCODE_POINTSTORE_HOLD_NOT_OPEN),
			 known ?
			 errmsg("hold \"%s\" of account \"%s\" is not open: it is %s", pointstore_cstring(hold->id),
					pointstore_cstring(event->aggregate_id), status) :
			 errmsg("hold \"%s\" is not open: it is %s", pointstore_cstring(hold->id), status),
			 errdetail_internal("%s", detail->data)));
}

/* PS011 of accounts that count different things, one of which may not be there yet. */
static void
raise_units(const ProposedEvent *event, const Decision *decision, StringInfo detail)
{
	const char *id = pointstore_cstring(event->aggregate_id);

	pointstore_detail(detail, "unit", decision->stored);
	pointstore_detail(detail, "other_unit", decision->asked);
	if (decision->opening != NULL)
	{
		pointstore_detail(detail, "kind", decision->opening);
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_NOT_ALLOWED),
				 errmsg("account \"%s\" is missing, and kind \"%s\" would open it, which counts \"%s\"; the other account counts \"%s\"",
						id, decision->opening, decision->stored, decision->asked),
				 errdetail_internal("%s", detail->data),
				 errhint("Name a kind of that unit, or call open_account() before.")));
	}
	ereport(ERROR,
			(errcode(ERRCODE_POINTSTORE_NOT_ALLOWED),
			 errmsg("account \"%s\" counts \"%s\", the other account \"%s\"", id, decision->stored, decision->asked),
			 errdetail_internal("%s", detail->data)));
}

/* The other reasons of PS011: of holds and reversals. */
static void
raise_not_allowed(const ProposedEvent *event, const Decision *decision, StringInfo detail)
{
	const char *id = pointstore_cstring(event->aggregate_id);
	long long	limit = decision->limit;
	long long	requested = decision->requested;
	long long	version = decision->applied_version;

	if (decision->reason != REASON_HOLD_SMALLER)
		pointstore_detail_number(detail, "version", version);
	if (decision->reason == REASON_HOLD_SMALLER || decision->reason == REASON_LESS_LEFT)
		pointstore_detail_number(detail, "available", limit);
	if (decision->reason == REASON_HOLD_SMALLER || decision->reason == REASON_LESS_LEFT || decision->reason == REASON_FRACTION)
		pointstore_detail_number(detail, "requested", requested);
	ereport(ERROR,
			(errcode(ERRCODE_POINTSTORE_NOT_ALLOWED),
			 decision->reason == REASON_HOLD_SMALLER ?
			 errmsg("hold \"%s\" of account \"%s\" reserves %lld, requested %lld", pointstore_cstring(event->hold->id), id, limit, requested) :
			 decision->reason == REASON_MOVED_NOTHING ?
			 errmsg("version %lld of account \"%s\" cannot be reversed: its amount is 0", version, id) :
			 decision->reason == REASON_IS_REVERSAL ?
			 errmsg("version %lld of account \"%s\" cannot be reversed: it is a reversal itself", version, id) :
			 decision->reason == REASON_NOTHING_LEFT ?
			 errmsg("version %lld of account \"%s\" has nothing left to be reversed", version, id) :
			 decision->reason == REASON_LESS_LEFT ?
			 errmsg("version %lld of account \"%s\" has %lld left to be reversed, requested %lld", version, id, limit, requested) :
			 errmsg("a part of %lld is not a whole amount in account \"%s\"", requested, id),
			 errdetail_internal("%s", detail->data),
			 decision->reason == REASON_IS_REVERSAL ? errhint("Append an event of your own.") :
			 decision->reason == REASON_FRACTION ? errhint("All legs are reversed in the same proportion.") : 0));
}

/* PS014, with the token that was shown, and that of the lease: 0 where there is none. */
static void
raise_lease_lost(const ProposedEvent *event, const Decision *decision, StringInfo detail)
{
	const char *id = pointstore_cstring(event->aggregate_id);
	long long	shown = decision->requested;
	long long	actual = decision->limit;

	pointstore_detail_number(detail, "requested", shown);
	pointstore_detail_number(detail, "token", actual);
	ereport(ERROR,
			(errcode(ERRCODE_POINTSTORE_LEASE_LOST),
			 shown == 0 ? errmsg("account \"%s\" takes events only from who holds its lease, and no token was given", id) :
			 actual == 0 ? errmsg("the lease of account \"%s\" is nobody's, and token %lld was given", id, shown) :
			 shown == actual ? errmsg("the lease of account \"%s\" of token %lld has ended", id, shown) :
			 errmsg("the lease of account \"%s\" is of token %lld, and %lld was given", id, actual, shown),
			 errdetail_internal("%s", detail->data),
			 errhint("SELECT * FROM pointstore.acquire_lease('account:%s', ...); its token is lease_token, or pointstore.lease_token.", id)));
}

/* What is an error in the try_ form too. */
static void
raise_in_every_form(const ProposedEvent *event, const Decision *decision)
{
	const char *id = pointstore_cstring(event->aggregate_id);

	if (decision->outcome == OUTCOME_WRONG_KIND)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("account \"%s\" is of another kind than \"%s\"", id, pointstore_cstring(event->kind)),
				 errhint("set_kind() changes the kind of an account.")));
	if (decision->outcome == OUTCOME_PURE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 event->is_check ? errmsg("account \"%s\" is pure and cannot be checked", id) :
				 event->hybrid_only ? errmsg("account \"%s\" is pure and takes part in no movement", id) :
				 errmsg("account \"%s\" is pure and has no holds", id),
				 event->is_check ? errdetail("It has no row that could be locked until the transaction ends.") : 0));
	if (decision->outcome == OUTCOME_MISSING_CHECKED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("account \"%s\" is missing and cannot be checked", id),
				 errdetail("It has no row that could be locked until the transaction ends."),
				 errhint("Call open_account() before, or append to it with expected_version 0.")));
	if (decision->outcome == OUTCOME_OVERFLOW)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("balance %lld of account \"%s\" and amount %lld are out of range for type bigint",
						(long long) decision->balance, id, (long long) (event->amount - event->held + event->incoming))));
	if (decision->outcome == OUTCOME_NO_KIND)
		pointstore_raise_no_kind(cstring_to_text(decision->stored));
	if (decision->outcome == OUTCOME_STRAY_EVENTS)
		pointstore_raise_stray_events(event->aggregate_id, decision->applied_version);
	if (decision->outcome == OUTCOME_CHANGE_WAITS)
		pointstore_raise_waiting(event->aggregate_id);
	elog(ERROR, "unexpected outcome %d", decision->outcome);
}
