/*-------------------------------------------------------------------------
 *
 * src/append/proposed.c
 *		What was proposed, where something else was appended: told to the function
 *		that merges, and kept in the event's metadata.
 *
 * A merge function takes and returns an event as a JSON object: event_type, amount, payload and metadata,
 * and payload_version where it has one. A key that is left out is as it was proposed.
 *
 * The event that it returns is appended with what was proposed under the key pointstore.proposed of its
 * metadata: the same keys, and expected_version; metadata only where it is not the event's own. That is what a
 * repeat of the request is compared with. The key is for the store alone. Where it is not as it was
 * written, by who altered a row, it counts as missing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "append/propose.h"
#include "append/proposed.h"
#include "ground/json.h"
#include "ground/name.h"

static void push_event(JsonbParseState **state, const ProposedEvent *event);
static bool same_json(Jsonb *a, Jsonb *b);
static bool read_number(Jsonb *object, const char *key, int64 *number);

/* A proposed event as the function that merges takes it. */
Jsonb *
pointstore_tell_proposed(const ProposedEvent *event)
{
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_event(&state, event);
	pointstore_push_document(&state, "metadata", event->metadata);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* The event that a function has returned, in place of the proposed one: 22004, 22023, 22003. */
void
pointstore_read_merged(ProposedEvent *event, Jsonb *merged, const char *function)
{
	if (!JB_ROOT_IS_OBJECT(merged))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("merge function %s returned no JSON object", function),
				 errhint("It returns the event to append, or null where there is none.")));
	if (event->metadata != NULL && !JB_ROOT_IS_OBJECT(event->metadata))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("metadata of an event that is merged must be a JSON object"),
				 errdetail("What was proposed is kept in it.")));
	pointstore_read_changes(event, merged, function);
	if (event->metadata != NULL && !JB_ROOT_IS_OBJECT(event->metadata))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("merge function %s returned metadata that is no JSON object", function)));
}

/* Puts what was proposed into the metadata of the event that is appended instead. */
void
pointstore_keep_proposed(ProposedEvent *event, const ProposedEvent *proposed)
{
	JsonbParseState *state = NULL;
	Jsonb	   *kept;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	pointstore_push_key(&state, PROPOSED_KEY);
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_event(&state, proposed);
	pointstore_push_number(&state, "expected_version", proposed->expected_version);
	if (!same_json(proposed->metadata, event->metadata))
		pointstore_push_document(&state, "metadata", proposed->metadata);
	(void) pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	kept = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	if (event->metadata != NULL)
		kept = DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(event->metadata), JsonbPGetDatum(kept)));
	event->metadata = kept;
}

/* What every event has. */
static void
push_event(JsonbParseState **state, const ProposedEvent *event)
{
	pointstore_push_text(state, "event_type", event->event_type);
	pointstore_push_number(state, "amount", event->amount);
	pointstore_push_document(state, "payload", event->payload);
	if (event->has_payload_version)
		pointstore_push_number(state, "payload_version", event->payload_version);
}

static bool
same_json(Jsonb *a, Jsonb *b)
{
	return a == b || (a != NULL && b != NULL && compareJsonbContainers(&a->root, &b->root) == 0);
}

/* A stored event as it was proposed, where its metadata says that it was proposed otherwise. */
void
pointstore_recall_proposed(ProposedEvent *stored, Jsonb *metadata)
{
	ProposedEvent proposed = *stored;
	JsonbValue	value;
	Jsonb	   *kept;
	int64		number;

	if (!pointstore_member(metadata, PROPOSED_KEY, &value))
		return;
	kept = JsonbValueToJsonb(&value);
	if (!pointstore_member(kept, "event_type", &value) || value.type != jbvString || !read_number(kept, "amount", &proposed.amount))
		return;
	proposed.event_type = cstring_to_text_with_len(value.val.string.val, value.val.string.len);
	if (!pointstore_member(kept, "payload", &value))
		return;
	proposed.payload = JsonbValueToJsonb(&value);
	proposed.has_payload_version = read_number(kept, "payload_version", &number) && number > 0 && number <= PG_INT16_MAX;
	proposed.payload_version = proposed.has_payload_version ? number : 0;
	*stored = proposed;
}

/* A member that is a whole number within bigint. */
static bool
read_number(Jsonb *object, const char *key, int64 *number)
{
	JsonbValue	value;
	char	   *digits;
	char	   *end;

	if (!pointstore_member(object, key, &value) || value.type != jbvNumeric)
		return false;
	digits = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value.val.numeric)));
	errno = 0;
	*number = strtoll(digits, &end, 10);
	return errno == 0 && end != digits && *end == '\0';
}

/* An event as its caller has proposed it, whatever has become of it. */
const ProposedEvent *
pointstore_as_proposed(const ProposedEvent *event)
{
	return event->proposed != NULL ? event->proposed : event;
}
