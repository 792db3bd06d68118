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
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "account/held.h"
#include "append/refusal.h"
#include "ground/compat.h"
#include "ground/detail.h"
#include "ground/name.h"
#include "ground/pointstore.h"

/* bytes of a value that is told */
#define TOLD_BYTES 200

static void begin_detail(StringInfo detail, const ProposedEvent *event);
static const char *field_value(const ProposedEvent *event, const char *field);
pg_noreturn static void raise_mismatch(const ProposedEvent *event, StringInfo detail);
pg_noreturn static void raise_insufficient(const ProposedEvent *event, StringInfo detail);
pg_noreturn static void raise_limit(const ProposedEvent *event, StringInfo detail);
pg_noreturn static void raise_missing(const ProposedEvent *event, StringInfo detail);
pg_noreturn static void raise_not_open(const ProposedEvent *event, StringInfo detail);
pg_noreturn static void raise_units(const ProposedEvent *event, StringInfo detail);
pg_noreturn static void raise_not_allowed(const ProposedEvent *event, StringInfo detail);
pg_noreturn static void raise_in_every_form(const ProposedEvent *event);

/* The values of the field in which an event differs from what its request has written. */
void
pointstore_tell_difference(ProposedEvent *event, const ProposedEvent *stored)
{
	event->asked = field_value(event, event->mismatch);
	event->stored = field_value(stored, event->mismatch);
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

/* Raises a refusal as the error it stands for. */
void
pointstore_raise(const ProposedEvent *event)
{
	StringInfoData detail;

	begin_detail(&detail, event);
	switch (event->outcome)
	{
		case OUTCOME_VERSION_CONFLICT:
			pointstore_detail_number(&detail, "expected_version", event->expected_version);
			pointstore_detail_number(&detail, "actual_version", event->version);
			ereport(ERROR,
					(errcode(ERRCODE_POINTSTORE_VERSION_CONFLICT),
					 errmsg("version conflict on account \"%s\": expected %lld, actual %lld",
							pointstore_cstring(event->aggregate_id),
							(long long) event->expected_version, (long long) event->version),
					 errdetail_internal("%s", detail.data),
					 errhint("Read the account again, and decide anew.")));
			break;
		case OUTCOME_REQUEST_MISMATCH:
			raise_mismatch(event, &detail);
		case OUTCOME_INSUFFICIENT_BALANCE:
			raise_insufficient(event, &detail);
		case OUTCOME_BALANCE_LIMIT:
			raise_limit(event, &detail);
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
			raise_missing(event, &detail);
		case OUTCOME_NOT_ALLOWED:
			if (event->reason == REASON_UNITS)
				raise_units(event, &detail);
			raise_not_allowed(event, &detail);
		case OUTCOME_HOLD_NOT_OPEN:
			raise_not_open(event, &detail);
		default:
			raise_in_every_form(event);
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
raise_mismatch(const ProposedEvent *event, StringInfo detail)
{
	char	   *id = pointstore_cstring(event->aggregate_id);
	const char *name = pointstore_cstring(event->hold ? event->hold->id : event->request_id);
	const char *where = event->applied_version > 0 ? psprintf(" in version " INT64_FORMAT, event->applied_version) : "";

	if (event->hold == NULL)
		pointstore_detail(detail, "request_id", name);
	pointstore_detail(detail, "field", event->mismatch);
	pointstore_detail(detail, "requested", event->asked);
	pointstore_detail(detail, "stored", event->stored);
	if (event->applied_version > 0)
		pointstore_detail_number(detail, "version", event->applied_version);
	ereport(ERROR,
			(errcode(ERRCODE_POINTSTORE_REQUEST_MISMATCH),
			 event->hold != NULL && strcmp(pointstore_cstring(event->event_type), "HoldPlaced") != 0 ?
			 errmsg("hold \"%s\" of account \"%s\" is another: %s is %s, was %s%s",
					name, id, event->mismatch, event->asked, event->stored, where) :
			 errmsg("%s \"%s\" for account \"%s\" was used for something else: %s is %s, was %s%s",
					event->hold ? "hold" : "request", name, id, event->mismatch, event->asked, event->stored, where),
			 errdetail_internal("%s", detail->data)));
}

/* PS003 */
static void
raise_insufficient(const ProposedEvent *event, StringInfo detail)
{
	const char *id = pointstore_cstring(event->aggregate_id);
	int64		requested = event->amount - event->held;

	pointstore_detail_number(detail, "available", event->available);
	pointstore_detail_number(detail, "floor", event->limit);
	pointstore_detail_number(detail, "requested", requested);
	ereport(ERROR,
			(errcode(ERRCODE_POINTSTORE_INSUFFICIENT_BALANCE),
			 event->limit == 0 ?
			 errmsg("insufficient balance on account \"%s\": available %lld, requested %lld", id,
					(long long) event->available, (long long) requested) :
			 errmsg("insufficient balance on account \"%s\": available %lld, requested %lld, floor %lld", id,
					(long long) event->available, (long long) requested, (long long) event->limit),
			 errdetail_internal("%s", detail->data)));
}

/* PS009 */
static void
raise_limit(const ProposedEvent *event, StringInfo detail)
{
	pointstore_detail_number(detail, "balance", event->balance);
	pointstore_detail_number(detail, "ceiling", event->limit);
	pointstore_detail_number(detail, "requested", event->amount);
	ereport(ERROR,
			(errcode(ERRCODE_POINTSTORE_BALANCE_LIMIT),
			 errmsg("balance limit of account \"%s\": balance %lld, requested %lld, at most %lld",
					pointstore_cstring(event->aggregate_id), (long long) event->balance,
					(long long) event->amount, (long long) event->limit),
			 errdetail_internal("%s", detail->data)));
}

/* PS008 */
static void
raise_missing(const ProposedEvent *event, StringInfo detail)
{
	if (event->reason == REASON_NO_HOLD)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_ACCOUNT_MISSING),
				 errmsg("hold \"%s\" is missing", pointstore_cstring(event->hold->id)),
				 errdetail_internal("%s", detail->data)));
	if (event->reason == REASON_NO_EVENT)
	{
		pointstore_detail_number(detail, "version", event->applied_version);
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_ACCOUNT_MISSING),
				 errmsg("account \"%s\" has no version %lld", pointstore_cstring(event->aggregate_id),
						(long long) event->applied_version),
				 errdetail_internal("%s", detail->data)));
	}
	ereport(ERROR,
			(errcode(ERRCODE_POINTSTORE_ACCOUNT_MISSING),
			 errmsg("account \"%s\" is missing", pointstore_cstring(event->aggregate_id)),
			 errdetail_internal("%s", detail->data),
			 errhint("Its kind does not open accounts by an append: open_account() does.")));
}

/* PS007, which says what became of the hold. */
static void
raise_not_open(const ProposedEvent *event, StringInfo detail)
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
raise_units(const ProposedEvent *event, StringInfo detail)
{
	const char *id = pointstore_cstring(event->aggregate_id);

	pointstore_detail(detail, "unit", event->stored);
	pointstore_detail(detail, "other_unit", event->asked);
	if (event->opening != NULL)
	{
		pointstore_detail(detail, "kind", event->opening);
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_NOT_ALLOWED),
				 errmsg("account \"%s\" is missing, and kind \"%s\" would open it, which counts \"%s\"; the other account counts \"%s\"",
						id, event->opening, event->stored, event->asked),
				 errdetail_internal("%s", detail->data),
				 errhint("Name a kind of that unit, or call open_account() before.")));
	}
	ereport(ERROR,
			(errcode(ERRCODE_POINTSTORE_NOT_ALLOWED),
			 errmsg("account \"%s\" counts \"%s\", the other account \"%s\"", id, event->stored, event->asked),
			 errdetail_internal("%s", detail->data)));
}

/* The other reasons of PS011: of holds and reversals. */
static void
raise_not_allowed(const ProposedEvent *event, StringInfo detail)
{
	const char *id = pointstore_cstring(event->aggregate_id);
	long long	limit = event->limit;
	long long	requested = event->requested;
	long long	version = event->applied_version;

	if (event->reason != REASON_HOLD_SMALLER)
		pointstore_detail_number(detail, "version", version);
	if (event->reason == REASON_HOLD_SMALLER || event->reason == REASON_LESS_LEFT)
		pointstore_detail_number(detail, "available", limit);
	if (event->reason == REASON_HOLD_SMALLER || event->reason == REASON_LESS_LEFT || event->reason == REASON_FRACTION)
		pointstore_detail_number(detail, "requested", requested);
	ereport(ERROR,
			(errcode(ERRCODE_POINTSTORE_NOT_ALLOWED),
			 event->reason == REASON_HOLD_SMALLER ?
			 errmsg("hold \"%s\" of account \"%s\" reserves %lld, requested %lld", pointstore_cstring(event->hold->id), id, limit, requested) :
			 event->reason == REASON_MOVED_NOTHING ?
			 errmsg("version %lld of account \"%s\" cannot be reversed: its amount is 0", version, id) :
			 event->reason == REASON_IS_REVERSAL ?
			 errmsg("version %lld of account \"%s\" cannot be reversed: it is a reversal itself", version, id) :
			 event->reason == REASON_NOTHING_LEFT ?
			 errmsg("version %lld of account \"%s\" has nothing left to be reversed", version, id) :
			 event->reason == REASON_LESS_LEFT ?
			 errmsg("version %lld of account \"%s\" has %lld left to be reversed, requested %lld", version, id, limit, requested) :
			 errmsg("a part of %lld is not a whole amount in account \"%s\"", requested, id),
			 errdetail_internal("%s", detail->data),
			 event->reason == REASON_IS_REVERSAL ? errhint("Append an event of your own.") :
			 event->reason == REASON_FRACTION ? errhint("All legs are reversed in the same proportion.") : 0));
}

/* What is an error in the try_ form too. */
static void
raise_in_every_form(const ProposedEvent *event)
{
	const char *id = pointstore_cstring(event->aggregate_id);

	if (event->outcome == OUTCOME_WRONG_KIND)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("account \"%s\" is of another kind than \"%s\"", id, pointstore_cstring(event->kind)),
				 errhint("set_kind() changes the kind of an account.")));
	if (event->outcome == OUTCOME_PURE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("account \"%s\" is pure and has no holds", id)));
	if (event->outcome == OUTCOME_OVERFLOW)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("balance %lld of account \"%s\" and amount %lld are out of range for type bigint",
						(long long) event->balance, id, (long long) (event->amount - event->held))));
	elog(ERROR, "unexpected outcome %d", event->outcome);
}
