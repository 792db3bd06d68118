/*-------------------------------------------------------------------------
 *
 * src/append/part.c
 *		Parts of batches whose other parts are on other nodes.
 *
 * What a node of a distributed store does for a call that began on another (spread.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "append/append.h"
#include "append/part.h"
#include "append/propose.h"
#include "append/spread.h"
#include "ground/compat.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/step.h"

PG_FUNCTION_INFO_V1(pointstore_append_part);
PG_FUNCTION_INFO_V1(pointstore_lock_part);

static bool flag(Jsonb *object, const char *key);

/*
 * append_part(aggregate_id, part): what another node's call has for this one. PS013 where an account of it is not
 * here. Its callers may append what they say anyway; the legs of a request they say as our functions do.
 */
Datum
pointstore_append_part(PG_FUNCTION_ARGS)
{
	Batch		batch = {0};

	pointstore_read_part(fcinfo, &batch, NULL);
	pointstore_append_or_leave(&batch);
	return pointstore_answer_part(fcinfo, &batch);
}

/* The batch that append_part(aggregate_id, part), or who takes the same, is asked for; its events are proposed by that: 22004, 22023, 25006. */
void
pointstore_read_part(FunctionCallInfo fcinfo, Batch *batch, Proposing (*propose) (BatchEvent *event, Snapshot snapshot))
{
	JsonbValue	events;
	ProposedEvent *proposals;
	Jsonb	   *part;
	int			n;
	int			i;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(0) ? "aggregate_id" : "part")));
	PreventCommandIfReadOnly("append_part()");
	part = PG_GETARG_JSONB_P(1);
	if (!JB_ROOT_IS_OBJECT(part) || !pointstore_member(part, "events", &events) || events.type != jbvBinary ||
		!JsonContainerIsArray(events.val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a part is an object with an array of events")));
	batch->refusals_are_outcomes = flag(part, "outcomes");
	batch->same_unit = flag(part, "same_unit");
	batch->balanced = flag(part, "balanced");
	batch->is_part = !flag(part, "whole");
	n = JsonContainerSize(events.val.binary.data);
	proposals = MemoryContextAllocExtended(CurrentMemoryContext, sizeof(ProposedEvent) * Max(n, 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (i = 0; i < n; i++)
	{
		proposals[i].propose = propose;
		pointstore_read_told(&proposals[i], getIthJsonbValueFromContainer(events.val.binary.data, i), batch->is_part);
		proposals[i].element = i + 1;
		if (proposals[i].followers >= n - i)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a request of a part has more events than the part")));
		if (proposals[i].is_check)
			batch->nchecks++;
		else if (batch->nchecks > 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("checks of a part come after its events")));
		else
			batch->nevents++;
	}
	batch->proposals = proposals;
}

/* A number that is not 0. */
static bool
flag(Jsonb *object, const char *key)
{
	JsonbValue	value;

	return pointstore_member(object, key, &value) && value.type == jbvNumeric && pointstore_json_bigint(key, &value) != 0;
}

/* What has become of the events of a part; of a refused one only what is refused. */
Datum
pointstore_answer_part(FunctionCallInfo fcinfo, const Batch *batch)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			i;

	pointstore_materialize(fcinfo);
	for (i = 0; i < batch->nevents + batch->nchecks; i++)
	{
		const Decision *decision = &batch->decisions[i];
		Datum		values[N_PART_COLUMNS];
		bool		nulls[N_PART_COLUMNS] = {0};

		if (batch->refused != NULL && batch->refused != decision)
			continue;
		values[PART_PLACE] = Int32GetDatum(i);
		values[PART_OUTCOME] = Int32GetDatum(decision->outcome);
		values[PART_IS_MERGED] = BoolGetDatum(decision->is_merged);
		values[PART_IS_RECALLED] = BoolGetDatum(decision->is_recalled);
		values[PART_VERSION] = Int64GetDatum(decision->version);
		values[PART_BALANCE] = Int64GetDatum(decision->balance);
		values[PART_AVAILABLE] = Int64GetDatum(decision->available);
		values[PART_ID] = Int64GetDatum(decision->id);
		values[PART_CREATED_AT] = TimestampTzGetDatum(decision->created_at);
		values[PART_UNIT] = PointerGetDatum(decision->unit);
		values[PART_APPLIED_VERSION] = Int64GetDatum(decision->applied_version);
		values[PART_AMOUNT] = Int64GetDatum(batch->proposals[i].amount);
		values[PART_REASON] = Int32GetDatum(decision->reason);
		values[PART_ACCOUNT_UNKNOWN] = BoolGetDatum(decision->account_unknown);
		nulls[PART_UNIT] = decision->unit == NULL;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* lock_part(aggregate_id, accounts): locks the accounts that have rows of their own, in the order given. */
Datum
pointstore_lock_part(PG_FUNCTION_ARGS)
{
	PointstoreScope scope;
	Datum	   *accounts;
	bool	   *nulls;
	int			n;
	int			i;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(0) ? "aggregate_id" : "accounts")));
	PreventCommandIfReadOnly("lock_part()");
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT, &accounts, &nulls, &n);
	pointstore_act_as_owner_plainly(&scope, pointstore_lock_plain(NULL));
	for (i = 0; i < n; i++)
	{
		Account		account;

		CHECK_FOR_INTERRUPTS();
		if (nulls[i])
			continue;
		pointstore_read_account(&account, DatumGetTextPP(accounts[i]), pointstore_push_snapshot(), LOCK_BALANCE);
		pointstore_release_account(&account);
		PopActiveSnapshot();
	}
	pointstore_act_as_caller(&scope);
	PG_RETURN_VOID();
}
