/*-------------------------------------------------------------------------
 *
 * src/money/transfer.c
 *		Transfers.
 *
 * A transfer is a batch of two events whose amounts are each other's negative.
 * The second has the first as its cause, and each has its place in the batch as
 * its leg: so either of them leads to the other. An event is the first
 * leg of a movement when it has leg 0 and no cause, and another event is one of
 * its legs when it has a larger leg, the first as its cause, and the same
 * request, or none as that. Only the functions write such a pair.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "append/append.h"
#include "append/batch.h"
#include "append/propose.h"
#include "append/receipt.h"
#include "append/refusal.h"
#include "ground/name.h"
#include "money/transfer.h"

PG_FUNCTION_INFO_V1(pointstore_transfer);
PG_FUNCTION_INFO_V1(pointstore_try_transfer);

static Datum transfer(FunctionCallInfo fcinfo, bool refusals_are_outcomes);

/* transfer(from_id, to_id, amount, request_id, event_type, payload, metadata, kind): see the install script. */
Datum
pointstore_transfer(PG_FUNCTION_ARGS)
{
	return transfer(fcinfo, false);
}

/* try_transfer(...): the same, refusals as outcomes. */
Datum
pointstore_try_transfer(PG_FUNCTION_ARGS)
{
	return transfer(fcinfo, true);
}

/* A transfer in the caller's transaction. */
static Datum
transfer(FunctionCallInfo fcinfo, bool refusals_are_outcomes)
{
	ProposedEvent legs[POINTSTORE_TRANSFER_LEGS] = {{0}};

	PreventCommandIfReadOnly("transfer()");
	pointstore_read_transfer(fcinfo, legs);
	return pointstore_append_transfer(fcinfo, legs, refusals_are_outcomes);
}

/* The arguments of transfer(), checked, as its two legs: 22004, 22023. */
void
pointstore_read_transfer(FunctionCallInfo fcinfo, ProposedEvent *legs)
{
	ProposedEvent *from = &legs[0];
	ProposedEvent *to = &legs[1];

	pointstore_check_arguments(fcinfo, 9);
	from->aggregate_id = pointstore_name(fcinfo, 0, "from_id");
	if (PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("amount must not be null")));
	from->event_type = pointstore_name(fcinfo, 4, "event_type");
	from->payload = pointstore_payload(fcinfo, 5);
	from->metadata = PG_ARGISNULL(6) ? NULL : PG_GETARG_JSONB_P(6);
	from->kind = PG_ARGISNULL(7) ? NULL : PG_GETARG_TEXT_PP(7);
	from->kind_opens = true;
	from->lease_if_asked = true;
	from->has_lease_token = !PG_ARGISNULL(8);
	from->lease_token = from->has_lease_token ? PG_GETARG_INT64(8) : 0;
	*to = *from;
	to->aggregate_id = pointstore_name(fcinfo, 1, "to_id");
	to->amount = PG_GETARG_INT64(2);
	if (to->amount <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the amount of a transfer must be positive, is %lld", (long long) to->amount)));
	from->amount = -to->amount;
	if (pointstore_same_text(from->aggregate_id, to->aggregate_id))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("account \"%s\" does not transfer to itself", pointstore_cstring(from->aggregate_id))));
	pointstore_make_request(legs, POINTSTORE_TRANSFER_LEGS, PG_ARGISNULL(3) ? NULL : PG_GETARG_TEXT_PP(3));
	pointstore_link_legs(legs, POINTSTORE_TRANSFER_LEGS);
	pointstore_check_event(from);
	pointstore_check_event(to);
}

/* Appends the legs in the caller's transaction and returns the receipts. */
Datum
pointstore_append_transfer(FunctionCallInfo fcinfo, ProposedEvent *legs, bool refusals_are_outcomes)
{
	Batch		batch = {
		.proposals = legs, .nevents = POINTSTORE_TRANSFER_LEGS, .same_unit = true,
		.refusals_are_outcomes = refusals_are_outcomes, .may_spread = true
	};

	pointstore_append_or_leave(&batch);
	return pointstore_answer_all(fcinfo, &batch);
}
