/*-------------------------------------------------------------------------
 *
 * src/append/columns.c
 *		The columns of an event that is judged: as it is written, and as a merge function is
 *		given it before.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "append/columns.h"

/* Sets a column that is not null. */
void
pointstore_set_column(EventColumns *event, EventColumn column, Datum value)
{
	event->values[column] = value;
	event->nulls[column] = false;
}

/* The columns of an event, but for its id and its time, which it gets when it is written. */
void
pointstore_event_columns(EventColumns *event, const ProposedEvent *proposal, const Decision *decision)
{
	memset(event->values, 0, sizeof(event->values));
	memset(event->nulls, true, sizeof(event->nulls));
#define SET(column, value) pointstore_set_column(event, column, value)
	SET(EV_AGGREGATE_ID, PointerGetDatum(proposal->aggregate_id));
	SET(EV_VERSION, Int64GetDatum(decision->version));
	SET(EV_EVENT_TYPE, PointerGetDatum(proposal->event_type));
	SET(EV_AMOUNT, Int64GetDatum(proposal->amount));
	SET(EV_HELD, Int64GetDatum(proposal->held));
	SET(EV_BALANCE_AFTER, Int64GetDatum(decision->balance));
	SET(EV_PAYLOAD, JsonbPGetDatum(proposal->payload));
	if (proposal->metadata != NULL)
		SET(EV_METADATA, JsonbPGetDatum(proposal->metadata));
	if (proposal->request_id != NULL)
		SET(EV_REQUEST_ID, PointerGetDatum(proposal->request_id));
	if (proposal->request_id != NULL || proposal->is_linked)
		SET(EV_LEG, Int16GetDatum(proposal->leg));
	if (proposal->has_cause)
		SET(EV_CAUSE_ID, Int64GetDatum(proposal->cause_id));
	if (proposal->has_occurred)
		SET(EV_OCCURRED_AT, TimestampTzGetDatum(proposal->occurred_at));
	if (proposal->has_payload_version)
		SET(EV_PAYLOAD_VERSION, Int16GetDatum(proposal->payload_version));
	if (decision->state != NULL)
		SET(EV_STATE_AFTER, PointerGetDatum(decision->state));
#undef SET
}
