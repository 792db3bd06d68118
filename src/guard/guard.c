/*-------------------------------------------------------------------------
 *
 * src/guard/guard.c
 *		Triggers: what holds against every writer of the store's tables.
 *
 * An event inserted by hand is numbered, checked and stamped before it is
 * stored, under its account's row lock, by the rules of append.c. Its balance
 * moves only afterwards, when the row is really there: an AFTER trigger looks at
 * what was stored, and at an account's last event of the statement sets the row
 * to it. So an event that ON CONFLICT or another trigger drops leaves nothing
 * behind, and a COPY of many events of one account updates its row once.
 *
 * The next version is one more than the account's last event, which a BEFORE trigger
 * sees even when its own statement has inserted it. Between the two triggers the
 * event is noted (note.c): what is stored must be what was let in.
 *
 * Where the balance row is ahead of the last event by this transaction's doing, the
 * event is the one it waits for. With balance_writer = caller it is the other way round as well:
 * the row stays where it is, and the caller's UPDATE must bring it to the event.
 *
 * Rows that our own functions write are known by their command id (row.c) and
 * pass.
 *
 * A balance changed by hand is checked after it is stored. All these are row
 * triggers, so that they also fire for a change through an inheritance parent.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "common/int.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "account/note.h"
#include "append/judge.h"
#include "append/propose.h"
#include "append/receipt.h"
#include "append/refusal.h"
#include "append/request.h"
#include "append/write.h"
#include "ground/detail.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/plan.h"
#include "ground/pointstore.h"
#include "ground/row.h"
#include "ground/sql.h"
#include "ground/stat.h"
#include "ground/step.h"
#include "ground/store.h"

PG_FUNCTION_INFO_V1(pointstore_guard_event_store);
PG_FUNCTION_INFO_V1(pointstore_guard_balance);
PG_FUNCTION_INFO_V1(pointstore_guard_pure_account);
PG_FUNCTION_INFO_V1(pointstore_guard_account_kind);
PG_FUNCTION_INFO_V1(pointstore_guard_hold);
PG_FUNCTION_INFO_V1(pointstore_guard_append_only);
PG_FUNCTION_INFO_V1(pointstore_check_version);

/* what a guard is fired by: bits for guarded_trigger() */
#define BEFORE(event) (1 << TRIGGER_EVENT_##event)
#define AFTER(event) (16 << TRIGGER_EVENT_##event)

/* An event as an INSERT brings it, or as it was stored. */
typedef struct RawEvent
{
	ProposedEvent event;
	bool		has_version;
	bool		has_created;
	bool		has_balance_after;
	bool		has_leg;
	bool		matched;		/* its change was made to the balance before */
	bool		by_caller;		/* else it is to be made by the caller, not by us */
	CommandId	began;			/* its statement, which has no command before this one */
	int64		version;
	int64		held;
	int64		balance_after;
	TimestampTz created_at;
} RawEvent;

static TriggerData *guarded_trigger(FunctionCallInfo fcinfo, PointstoreTableId table, int firings);
static Datum column(HeapTuple tuple, const TriggerData *trigger, AttrNumber att, bool *isnull);
static text *text_column(HeapTuple tuple, const TriggerData *trigger, AttrNumber att);
static text *known_text(HeapTuple tuple, const TriggerData *trigger, AttrNumber att);
static int64 bigint_column(HeapTuple tuple, const TriggerData *trigger, AttrNumber att, bool *given);
static void read_raw_event(RawEvent *raw, HeapTuple tuple, const TriggerData *trigger);
static HeapTuple propose_event(const TriggerData *trigger);
static bool number_event(RawEvent *raw, Account *account, Snapshot snapshot);
static bool open_for_event(const ProposedEvent *event, Account *account, Snapshot snapshot);
static void judge_hybrid(RawEvent *raw, Account *account, const Account *last, Snapshot snapshot);
static void require_amount(const RawEvent *raw, const Account *account);
static void refuse_taken_change(const RawEvent *raw, const Account *last);
static void match_change(RawEvent *raw, const Account *account, const Account *last, Snapshot snapshot);
static void judge_in_between(RawEvent *raw, const Account *account, const Account *last, Snapshot snapshot);
static void refuse_damaged_row(const Account *account, const Account *last);
static void stamp_event(RawEvent *raw, const Account *account, const Account *last);
static HeapTuple filled_in(const RawEvent *raw, const TriggerData *trigger);
static void note_event(const RawEvent *raw);
static uint64 digest_of(const RawEvent *raw);
static uint64 digest_text(text *value, uint64 seed);
static void settle_event(const TriggerData *trigger);
static void follow_last_event(const RawEvent *raw);
static void refuse_shut(const Account *account, const Account *last);
static bool balance_columns_differ(const TriggerData *trigger, int from, int to);
static bool pure_columns_differ(const TriggerData *trigger);
static bool attribute_differs(const TriggerData *trigger, AttrNumber att);
static void check_changed_balance(const TriggerData *trigger);
static bool meets_event(text *id, int64 version, int64 balance);
static void check_changed_limits(const TriggerData *trigger, text *id);
static void check_new_balance(const TriggerData *trigger);
static void check_new_account(const TriggerData *trigger, const AttrNumber *att, bool pure);
static void refuse_used_kind(text *kind);
static int	hint_instead(const char *table);
static int64 version_value(Datum value, Oid type);
static HeapTuple raised_version(const TriggerData *trigger, int att, Oid type, int64 old);

/* Trigger of event_store: BEFORE INSERT numbers and checks, AFTER INSERT moves the balance. */
Datum
pointstore_guard_event_store(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = guarded_trigger(fcinfo, TABLE_EVENT_STORE, BEFORE(INSERT) | AFTER(INSERT));
	HeapTuple	result = trigger->tg_trigtuple;
	PointstoreScope scope;

	if (TRIGGER_FIRED_BEFORE(trigger->tg_event) ? pointstore_is_own_slot(trigger->tg_trigslot)
		: pointstore_is_own_row(trigger->tg_trigtuple))
		return PointerGetDatum(result);
	pointstore_act_as_owner(&scope);
	if (TRIGGER_FIRED_BEFORE(trigger->tg_event))
		result = propose_event(trigger);
	else
	{
		settle_event(trigger);
		pointstore_stat_add(STAT_APPENDS, 1);
	}
	pointstore_act_as_caller(&scope);
	return PointerGetDatum(result);
}

/*
 * The trigger's data; 39P01 when it is not a row trigger of the given table of the store,
 * fired at once by one of these events.
 */
static TriggerData *
guarded_trigger(FunctionCallInfo fcinfo, PointstoreTableId table, int firings)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		!(firings & (TRIGGER_FIRED_BEFORE(trigger->tg_event) ? 1 : TRIGGER_FIRED_AFTER(trigger->tg_event) ? 16 : 0) <<
		  (trigger->tg_event & TRIGGER_EVENT_OPMASK)) ||
		trigger->tg_trigger->tgdeferrable ||
		RelationGetRelid(trigger->tg_relation) != pointstore_store()->table[table].relid)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("the guards of pointstore serve as row triggers of its own tables alone")));
	return trigger;
}

static Datum
column(HeapTuple tuple, const TriggerData *trigger, AttrNumber att, bool *isnull)
{
	return heap_getattr(tuple, att, RelationGetDescr(trigger->tg_relation), isnull);
}

static text *
text_column(HeapTuple tuple, const TriggerData *trigger, AttrNumber att)
{
	bool		isnull;
	Datum		value = column(tuple, trigger, att, &isnull);

	return isnull ? NULL : DatumGetTextPP(value);
}

/* Of a column without nulls: whatever became of that, nothing is read from one. */
static text *
known_text(HeapTuple tuple, const TriggerData *trigger, AttrNumber att)
{
	text	   *value = text_column(tuple, trigger, att);

	return value != NULL ? value : cstring_to_text("");
}

/* 0 where it is null; given, where wanted, says which. */
static int64
bigint_column(HeapTuple tuple, const TriggerData *trigger, AttrNumber att, bool *given)
{
	bool		isnull;
	Datum		value = column(tuple, trigger, att, &isnull);

	if (given != NULL)
		*given = !isnull;
	return isnull ? 0 : DatumGetInt64(value);
}

static void
read_raw_event(RawEvent *raw, HeapTuple tuple, const TriggerData *trigger)
{
	const AttrNumber *att = pointstore_store()->table[TABLE_EVENT_STORE].att;
	ProposedEvent *event = &raw->event;
	bool		isnull;
	Datum		value;

	memset(raw, 0, sizeof(RawEvent));
	event->aggregate_id = text_column(tuple, trigger, att[EV_AGGREGATE_ID]);
	event->event_type = text_column(tuple, trigger, att[EV_EVENT_TYPE]);
	event->request_id = text_column(tuple, trigger, att[EV_REQUEST_ID]);
	event->amount = bigint_column(tuple, trigger, att[EV_AMOUNT], &event->any_amount);
	event->any_amount = !event->any_amount;
	value = column(tuple, trigger, att[EV_PAYLOAD], &isnull);
	event->payload = isnull ? pointstore_empty_payload() : DatumGetJsonbP(value);
	event->occurred_at = bigint_column(tuple, trigger, att[EV_OCCURRED_AT], &event->has_occurred);
	value = column(tuple, trigger, att[EV_LEG], &isnull);
	event->leg = isnull ? 0 : DatumGetInt16(value);
	raw->has_leg = !isnull;
	event->id = bigint_column(tuple, trigger, att[EV_ID], NULL);
	event->cause_id = bigint_column(tuple, trigger, att[EV_CAUSE_ID], &event->has_cause);
	raw->version = bigint_column(tuple, trigger, att[EV_VERSION], &raw->has_version);
	raw->held = bigint_column(tuple, trigger, att[EV_HELD], NULL);
	raw->balance_after = bigint_column(tuple, trigger, att[EV_BALANCE_AFTER], &raw->has_balance_after);
	raw->created_at = bigint_column(tuple, trigger, att[EV_CREATED_AT], &raw->has_created);
}

/* BEFORE INSERT: the row with all that the store decides filled in; NULL to skip a repeat. */
static HeapTuple
propose_event(const TriggerData *trigger)
{
	RawEvent	raw;
	ProposedEvent *event = &raw.event;
	bool		stored = false;
	bool		done = false;

	read_raw_event(&raw, trigger->tg_trigtuple, trigger);
	raw.began = ActiveSnapshotSet() ? GetActiveSnapshot()->curcid : InvalidCommandId;
	if (event->aggregate_id == NULL || event->event_type == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", event->aggregate_id == NULL ? "aggregate_id" : "event_type")));
	pointstore_check_event(event);
	if (raw.held != 0 || event->leg < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an event inserted by hand has no held and no negative leg")));
	if (event->request_id != NULL && event->leg > 0 && event->has_cause)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an event inserted by hand has a cause_id or a leg above 0, not both"),
				 errdetail("That would make it a leg of a transfer.")));
	while (!done)
	{
		Snapshot	snapshot = pointstore_push_snapshot();
		Account		account;

		CHECK_FOR_INTERRUPTS();
		pointstore_read_account(&account, event->aggregate_id, snapshot, LOCK_BY_HAND);
		PopActiveSnapshot();
		snapshot = pointstore_push_snapshot();	/* sees what the lock was waited for */
		stored = event->request_id != NULL && pointstore_find_request(event, 1, true, snapshot);
		if (stored)
			pointstore_count_event(event);
		if (stored && event->outcome == OUTCOME_REQUEST_MISMATCH)
			pointstore_raise(event);
		if (stored)
			pointstore_await_durable(event->durable);
		done = stored || number_event(&raw, &account, snapshot);
		pointstore_release_account(&account);
		PopActiveSnapshot();
	}
	if (stored)
		return NULL;
	note_event(&raw);
	return filled_in(&raw, trigger);
}

/* Decides about an event under its account's lock. False: the account was opened just now, do it again. */
static bool
number_event(RawEvent *raw, Account *account, Snapshot snapshot)
{
	ProposedEvent *event = &raw->event;
	Account		last = {.id = account->id};

	if (!account->exists && open_for_event(event, account, snapshot))
		return false;
	event->account = account;
	event->has_expected = raw->has_version;
	event->expected_version = raw->version - 1;
	(void) pointstore_last_event(&last, snapshot);
	if (account->pure || !account->exists)
	{
		require_amount(raw, account);
		pointstore_judge(event, account, snapshot);
	}
	else
		judge_hybrid(raw, account, &last, snapshot);
	if (event->outcome != OUTCOME_APPENDED)
	{
		pointstore_count_event(event);
		pointstore_raise(event);
	}
	if (raw->has_balance_after && raw->balance_after != event->balance)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("balance_after of account \"%s\" is given as %lld, and is %lld",
						pointstore_cstring(account->id), (long long) raw->balance_after,
						(long long) event->balance)));
	stamp_event(raw, account, &last);
	account->last_id = last.last_id;
	event->id = pointstore_draw_id(account);
	raw->version = event->version;
	raw->balance_after = event->balance;
	raw->created_at = event->created_at;
	raw->has_leg = event->request_id != NULL;
	return true;
}

/*
 * Opens a missing account under the default kind, if that may; else judging it refuses.
 * A balance is not opened for who writes balances itself: PS008.
 */
static bool
open_for_event(const ProposedEvent *event, Account *account, Snapshot snapshot)
{
	const Kind *kind = pointstore_require_kind(cstring_to_text("default"));

	if (!kind->auto_open)
		return false;
	pointstore_refuse_damaged(account->id, snapshot);
	if (!kind->pure && pointstore_caller_moves_balances())
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_ACCOUNT_MISSING),
				 errmsg("account \"%s\" is missing", pointstore_cstring(account->id)),
				 pointstore_detail_account(account->id),
				 errhint("Where pointstore.balance_writer is caller the row of pointstore.balance comes before its first event.")));
	(void) pointstore_open_row(account->id, kind, InvalidOid);
	return true;
}

/*
 * The event matches a change made before where this transaction has moved the row ahead.
 * Else it advances the balance, from the row or from what of this transaction is ahead of it: then
 * the caller makes its change, where it writes the balances, as of those ahead. All else is damage.
 */
static void
judge_hybrid(RawEvent *raw, Account *account, const Account *last, Snapshot snapshot)
{
	refuse_taken_change(raw, last);
	if (account->version > last->version && pointstore_row_is_ours(account->row))
	{
		require_amount(raw, account);
		match_change(raw, account, last, snapshot);
		return;
	}
	raw->by_caller = pointstore_caller_moves_balances();
	if (account->version < last->version && last->last_is_ours)
	{
		const EventNote *ahead = pointstore_noted_event(last->last_id);

		raw->by_caller = ahead != NULL && ahead->by_caller;
		account->version = last->version;
		account->balance = last->balance;
		account->updated_at = Max(account->updated_at, last->updated_at);
	}
	if (account->version != last->version || account->balance != last->balance)
		refuse_damaged_row(account, last);
	require_amount(raw, account);
	pointstore_judge(&raw->event, account, snapshot);
}

/* An amount left out is inferred, where the kind allows it, or 0, where the store moves the balance: else 22004. */
static void
require_amount(const RawEvent *raw, const Account *account)
{
	bool		required = account->kind != NULL && account->kind->amount_required;

	if (raw->event.any_amount && (required || raw->by_caller))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("amount of an event of account \"%s\" must not be null", pointstore_cstring(account->id)),
				 required ? errdetail("Its kind \"%s\" has amount_required.", pointstore_cstring(account->kind_name))
				 : errdetail("No change of its balance waits for an event, and pointstore.balance_writer is caller.")));
}

/*
 * An event that a trigger of this very statement has inserted may have taken the change that
 * this one was to match: PS010. What the statement itself inserts has the command that it began with.
 */
static void
refuse_taken_change(const RawEvent *raw, const Account *last)
{
	const EventNote *note = last->last_is_ours && last->last_cid > raw->began ? pointstore_noted_event(last->last_id) : NULL;

	if (note != NULL && note->matches)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_UNPAIRED_CHANGE),
				 errmsg("the change of account \"%s\" that waited for this event was taken by one that a trigger has inserted",
						pointstore_cstring(last->id))));
}

/* The event of a change that was made to the row before: PS001, PS010, 22003. */
static void
match_change(RawEvent *raw, const Account *account, const Account *last, Snapshot snapshot)
{
	ProposedEvent *event = &raw->event;
	bool		only_one = account->version == last->version + 1;

	if (pointstore_is_being_written(account->row))
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_UNPAIRED_CHANGE),
				 errmsg("account \"%s\" is being written by a function, whose event comes first",
						pointstore_cstring(account->id)),
				 errhint("A trigger adds events of the same account by append_event(), or AFTER INSERT.")));
	if (event->any_amount)
	{
		event->amount = 0;
		if (only_one && pg_sub_s64_overflow(account->balance, last->balance, &event->amount))
			event->amount = 0;
	}
	raw->matched = true;
	if (!only_one)
	{
		judge_in_between(raw, account, last, snapshot);
		return;
	}
	event->outcome = OUTCOME_APPENDED;
	if (raw->has_version && raw->version != last->version + 1)
		event->outcome = OUTCOME_VERSION_CONFLICT;
	else if (pg_add_s64_overflow(last->balance, event->amount, &event->balance))
		event->outcome = OUTCOME_OVERFLOW;
	else if (event->balance != account->balance)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_UNPAIRED_CHANGE),
				 errmsg("the balance of account \"%s\" changed by %lld, its event says %lld",
						pointstore_cstring(account->id),
						(long long) (account->balance - last->balance), (long long) event->amount)));
	event->version = event->outcome == OUTCOME_APPENDED ? last->version + 1 : last->version;
}

/* Of several changes that wait for their events, what each but the last was is not known: its event keeps to the rules itself. */
static void
judge_in_between(RawEvent *raw, const Account *account, const Account *last, Snapshot snapshot)
{
	Account		between = *account;

	between.version = last->version;
	between.balance = last->balance;
	pointstore_judge(&raw->event, &between, snapshot);
}

static void
refuse_damaged_row(const Account *account, const Account *last)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("the row and the events of account \"%s\" disagree", pointstore_cstring(account->id)),
			 errdetail("The row says version %lld, balance %lld; the last event version %lld, balance %lld.",
					   (long long) account->version, (long long) account->balance,
					   (long long) last->version, (long long) last->balance),
			 errhint("SELECT * FROM pointstore.rebuild_balance('%s'); sets the row to what the events say.",
					 pointstore_cstring(account->id))));
}

/* created_at: as given, between the previous event and now (22023), else the clock. */
static void
stamp_event(RawEvent *raw, const Account *account, const Account *last)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!raw->has_created)
	{
		/* the event of a change made before is of that moment: the row is not touched again */
		if (raw->matched)
			now = account->updated_at;
		raw->event.created_at = Max(now, Max(account->updated_at, last->updated_at));
		return;
	}
	raw->event.created_at = raw->created_at;
	if (raw->created_at > now)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("created_at of account \"%s\" is in the future: %s", pointstore_cstring(account->id),
						timestamptz_to_str(raw->created_at))));
	if (last->version > 0 && raw->created_at < last->updated_at)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("created_at of account \"%s\" is before its previous event",
						pointstore_cstring(account->id)),
				 errdetail("Version %lld was created at %s.", (long long) last->version,
						   timestamptz_to_str(last->updated_at))));
}

static HeapTuple
filled_in(const RawEvent *raw, const TriggerData *trigger)
{
	const AttrNumber *att = pointstore_store()->table[TABLE_EVENT_STORE].att;
	const ProposedEvent *event = &raw->event;
	int			columns[] = {
		att[EV_ID], att[EV_VERSION], att[EV_AMOUNT], att[EV_HELD], att[EV_BALANCE_AFTER],
		att[EV_PAYLOAD], att[EV_LEG], att[EV_OCCURRED_AT], att[EV_CREATED_AT]
	};
	Datum		values[] = {
		Int64GetDatum(event->id), Int64GetDatum(event->version), Int64GetDatum(event->amount),
		Int64GetDatum(0), Int64GetDatum(event->balance), JsonbPGetDatum(event->payload),
		Int16GetDatum(event->leg),
		TimestampTzGetDatum(event->has_occurred ? event->occurred_at : event->created_at),
		TimestampTzGetDatum(event->created_at)
	};
	bool		nulls[lengthof(columns)] = {0};

	nulls[6] = !raw->has_leg;
	return heap_modify_tuple_by_cols(trigger->tg_trigtuple, RelationGetDescr(trigger->tg_relation),
									 lengthof(columns), columns, values, nulls);
}

/* Notes an event that is let in; an account that the caller moves is looked at before the commit. */
static void
note_event(const RawEvent *raw)
{
	EventNote	note = {
		.id = raw->event.id, .digest = digest_of(raw), .by_caller = raw->by_caller, .matches = raw->matched
	};

	pointstore_note_event(&note);
	if (raw->by_caller)
		pointstore_note_change(raw->event.aggregate_id, raw->version);
}

/* Of all that a trigger may not change between ours; with a secret of this process, so that none can be made to fit. */
static uint64
digest_of(const RawEvent *raw)
{
	static uint64 secret = 0;
	const ProposedEvent *event = &raw->event;
	int64		numbers[] = {
		event->id, raw->version, event->amount, raw->held, raw->balance_after, raw->created_at,
		raw->has_leg, raw->has_leg ? event->leg : 0, event->has_cause, event->cause_id
	};
	uint64		digest;

	if (secret == 0 && !pg_strong_random(&secret, sizeof(secret)))
		elog(ERROR, "could not draw a random number");
	digest = hash_bytes_extended((const unsigned char *) numbers, sizeof(numbers), secret);
	digest = digest_text(event->aggregate_id, digest);
	digest = digest_text(event->event_type, digest);
	digest = digest_text(event->request_id, digest);
	return digest >> 2;			/* the width of a note's */
}

static uint64
digest_text(text *value, uint64 seed)
{
	if (value == NULL)
		return ~seed;
	return hash_bytes_extended((const unsigned char *) VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value), seed);
}

/* AFTER INSERT: what is stored must be what was let in, else PS010; at an account's last event the row follows. */
static void
settle_event(const TriggerData *trigger)
{
	RawEvent	raw;
	const EventNote *note;

	read_raw_event(&raw, trigger->tg_trigtuple, trigger);
	note = pointstore_noted_event(raw.event.id);
	if (note == NULL || note->digest != digest_of(&raw))
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_UNPAIRED_CHANGE),
				 errmsg("the event of account \"%s\" was changed on its way into the table",
						pointstore_cstring(raw.event.aggregate_id)),
				 errdetail("A BEFORE trigger may change payload, metadata, occurred_at and columns of the user's own.")));
	if (!note->by_caller)
		follow_last_event(&raw);
}

/* Sets the row to an event, unless another of the account follows, or the row is there already. */
static void
follow_last_event(const RawEvent *raw)
{
	Snapshot	snapshot = pointstore_push_snapshot();
	Account		account;
	Account		last = {.id = raw->event.aggregate_id};

	(void) pointstore_last_event(&last, snapshot);
	if (last.version == raw->version)
	{
		pointstore_read_account(&account, last.id, snapshot, LOCK_BY_HAND);
		refuse_shut(&account, &last);
		if (account.exists && !account.pure && account.version < last.version)
			pointstore_follow_event(&account, &last);
		pointstore_release_account(&account);
	}
	PopActiveSnapshot();
}

/*
 * 27000 when a trigger has frozen or closed the account after its event was let in, and before that was
 * there to be seen. A pure account has no row that shows it: it is not closed with something in it.
 */
static void
refuse_shut(const Account *account, const Account *last)
{
	if (account->pure ? account->status == STATUS_CLOSED && last->balance != 0
		: account->status != STATUS_OPEN && account->version < last->version)
		pointstore_refuse_triggered_status(last->id);
}

/* Trigger of balance: BEFORE UPDATE stamps updated_at, AFTER INSERT OR UPDATE checks. */
Datum
pointstore_guard_balance(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = guarded_trigger(fcinfo, TABLE_BALANCE, BEFORE(UPDATE) | AFTER(INSERT) | AFTER(UPDATE));
	bool		is_update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	HeapTuple	row = is_update ? trigger->tg_newtuple : trigger->tg_trigtuple;
	PointstoreScope scope;

	if (TRIGGER_FIRED_BEFORE(trigger->tg_event))
	{
		AttrNumber	att = pointstore_store()->table[TABLE_BALANCE].att[BAL_UPDATED_AT];
		int			columns[] = {att};
		bool		nulls[] = {false};
		Datum		stamp;

		if (pointstore_is_own_slot(trigger->tg_newslot))
			return PointerGetDatum(row);
		stamp = bigint_column(trigger->tg_trigtuple, trigger, att, NULL);
		if (balance_columns_differ(trigger, 0, BAL_UPDATED_AT))
			stamp = TimestampTzGetDatum(Max(DatumGetTimestampTz(stamp), GetCurrentTimestamp()));
		return PointerGetDatum(heap_modify_tuple_by_cols(row, RelationGetDescr(trigger->tg_relation),
														 1, columns, &stamp, nulls));
	}
	if (pointstore_is_own_row(row))
		return PointerGetDatum(row);
	pointstore_act_as_owner(&scope);
	if (is_update)
		check_changed_balance(trigger);
	else
		check_new_balance(trigger);
	pointstore_act_as_caller(&scope);
	return PointerGetDatum(row);
}

/* Whether an UPDATE changes one of the columns of ours from one up to before another. */
static bool
balance_columns_differ(const TriggerData *trigger, int from, int to)
{
	const AttrNumber *att = pointstore_store()->table[TABLE_BALANCE].att;
	int			i;

	for (i = from; i < to; i++)
		if (attribute_differs(trigger, att[i]))
			return true;
	return false;
}

/* Whether an UPDATE changes an attribute, by its bytes. */
static bool
attribute_differs(const TriggerData *trigger, AttrNumber att)
{
	Form_pg_attribute form = TupleDescAttr(RelationGetDescr(trigger->tg_relation), att - 1);
	bool		old_null;
	bool		new_null;
	Datum		old = column(trigger->tg_trigtuple, trigger, att, &old_null);
	Datum		new = column(trigger->tg_newtuple, trigger, att, &new_null);

	if (old_null || new_null)
		return old_null != new_null;
	if (form->attlen == -1)
		return !pointstore_same_text(DatumGetTextPP(old), DatumGetTextPP(new));
	return old != new;
}

/* A balance updated by hand: PS001, PS003, PS004, PS005, PS009, 22023; its event may come until commit. */
static void
check_changed_balance(const TriggerData *trigger)
{
	const AttrNumber *att = pointstore_store()->table[TABLE_BALANCE].att;
	text	   *id = known_text(trigger->tg_trigtuple, trigger, att[BAL_AGGREGATE_ID]);
	int64		old_version = bigint_column(trigger->tg_trigtuple, trigger, att[BAL_VERSION], NULL);
	int64		new_version = bigint_column(trigger->tg_newtuple, trigger, att[BAL_VERSION], NULL);

	if (!balance_columns_differ(trigger, 0, BAL_UPDATED_AT))
		return;
	if (balance_columns_differ(trigger, BAL_HELD, BAL_UPDATED_AT) ||
		balance_columns_differ(trigger, BAL_AGGREGATE_ID, BAL_VERSION))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("account \"%s\": aggregate_id, kind, held, next_expiry and status are not changed by hand",
						pointstore_cstring(id))));
	if (old_version == PG_INT64_MAX || new_version != old_version + 1)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_VERSION_CONFLICT),
				 errmsg("version conflict on account \"%s\": expected %lld, actual %lld", pointstore_cstring(id),
						(long long) old_version + (old_version < PG_INT64_MAX), (long long) new_version),
				 pointstore_detail_figures(id, "expected_version", old_version + (old_version < PG_INT64_MAX),
										   "actual_version", new_version),
				 errhint("A change of a balance raises its version by 1.")));
	if (!meets_event(id, new_version, bigint_column(trigger->tg_newtuple, trigger, att[BAL_BALANCE], NULL)))
		check_changed_limits(trigger, id);
	pointstore_note_change(id, new_version);
}

/*
 * Whether a balance comes to an event that was inserted by hand before it, and was judged then.
 * PS010 where that event says another balance.
 */
static bool
meets_event(text *id, int64 version, int64 balance)
{
	const PointstoreTable *events = &pointstore_store()->table[TABLE_EVENT_STORE];
	RowKey		key = {0};
	RowScan		scan;
	int64		found = 0;
	int64		balance_after = 0;
	bool		isnull;

	if (!pointstore_has_noted_events())
		return false;
	pointstore_key_text(&key, id);
	pointstore_key_at_most(&key, version);
	pointstore_scan_begin(&scan, INDEX_EVENT, pointstore_push_snapshot(), &key);
	if (pointstore_scan_next(&scan, BackwardScanDirection))
	{
		found = DatumGetInt64(slot_getattr(scan.slot, events->att[EV_VERSION], &isnull));
		balance_after = DatumGetInt64(slot_getattr(scan.slot, events->att[EV_BALANCE_AFTER], &isnull));
	}
	pointstore_scan_end(&scan);
	PopActiveSnapshot();
	if (found == version && balance_after != balance)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_UNPAIRED_CHANGE),
				 errmsg("the balance of account \"%s\" at version %lld is changed to %lld, its event says %lld",
						pointstore_cstring(id), (long long) version, (long long) balance, (long long) balance_after)));
	return found == version;
}

static void
check_changed_limits(const TriggerData *trigger, text *id)
{
	const AttrNumber *att = pointstore_store()->table[TABLE_BALANCE].att;
	Snapshot	snapshot = pointstore_push_snapshot();
	bool		has_expiry;
	Account		account = {
		.id = id, .exists = true,
		.kind_name = known_text(trigger->tg_trigtuple, trigger, att[BAL_KIND]),
		.status = pointstore_status(known_text(trigger->tg_trigtuple, trigger, att[BAL_STATUS])),
		.version = bigint_column(trigger->tg_trigtuple, trigger, att[BAL_VERSION], NULL),
		.balance = bigint_column(trigger->tg_trigtuple, trigger, att[BAL_BALANCE], NULL),
		.held = bigint_column(trigger->tg_trigtuple, trigger, att[BAL_HELD], NULL),
		.updated_at = bigint_column(trigger->tg_trigtuple, trigger, att[BAL_UPDATED_AT], NULL),
		.next_expiry = bigint_column(trigger->tg_trigtuple, trigger, att[BAL_NEXT_EXPIRY], &has_expiry)
	};
	ProposedEvent change = {.aggregate_id = id, .account = &account};
	int64		balance = bigint_column(trigger->tg_newtuple, trigger, att[BAL_BALANCE], NULL);

	account.has_expiry = has_expiry;
	account.kind = pointstore_require_kind(account.kind_name);
	if (pg_sub_s64_overflow(balance, account.balance, &change.amount))
	{
		change.outcome = OUTCOME_OVERFLOW;
		change.balance = account.balance;
		change.amount = balance;
	}
	else
		pointstore_judge(&change, &account, snapshot);
	if (change.outcome != OUTCOME_APPENDED)
		pointstore_raise(&change);
	PopActiveSnapshot();
}

/* A balance row inserted by hand: empty, or at version 1 and waiting for that event. */
static void
check_new_balance(const TriggerData *trigger)
{
	const AttrNumber *att = pointstore_store()->table[TABLE_BALANCE].att;
	HeapTuple	row = trigger->tg_trigtuple;
	text	   *id = known_text(row, trigger, att[BAL_AGGREGATE_ID]);
	int64		version = bigint_column(row, trigger, att[BAL_VERSION], NULL);
	int64		balance = bigint_column(row, trigger, att[BAL_BALANCE], NULL);
	bool		has_expiry;

	(void) bigint_column(row, trigger, att[BAL_NEXT_EXPIRY], &has_expiry);
	if (bigint_column(row, trigger, att[BAL_HELD], NULL) != 0 || has_expiry)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("account \"%s\" is not opened with held or next_expiry", pointstore_cstring(id))));
	if (version < 0 || version > 1 || (version == 0 && balance != 0))
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_VERSION_CONFLICT),
				 errmsg("version conflict on account \"%s\": expected %d, actual %lld", pointstore_cstring(id),
						balance != 0, (long long) version),
				 pointstore_detail_figures(id, "expected_version", balance != 0, "actual_version", version),
				 errhint("A new balance row is empty at version 0, or at version 1 and waits for its event.")));
	check_new_account(trigger, att, false);
	if (version == 1)
		pointstore_note_change(id, version);
}

/*
 * A row of balance or pure_account inserted by hand: its name, kind, status;
 * no events, no row in the other mode; and, of a balance, within its limits.
 */
static void
check_new_account(const TriggerData *trigger, const AttrNumber *att, bool pure)
{
	HeapTuple	row = trigger->tg_trigtuple;
	text	   *status = known_text(row, trigger, att[pure ? PURE_STATUS : BAL_STATUS]);
	Snapshot	snapshot = pointstore_push_snapshot();
	Account		account = {
		.id = known_text(row, trigger, att[0]), .pure = pure,
		.kind_name = known_text(row, trigger, att[1])
	};
	ProposedEvent opening = {.aggregate_id = account.id, .account = &account};

	pointstore_check_name("aggregate_id", account.id);
	account.kind = pointstore_require_kind(account.kind_name);
	if (account.kind->pure != pure || VARSIZE_ANY_EXHDR(status) != 4 ||
		pointstore_status(status) != STATUS_OPEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("account \"%s\" must be opened with status open, under a %s kind",
						pointstore_cstring(account.id), pure ? "pure" : "hybrid")));
	pointstore_refuse_events(account.id, snapshot);
	if (!pure)
		opening.amount = bigint_column(row, trigger, att[BAL_BALANCE], NULL);
	account.exists = true;
	pointstore_judge(&opening, &account, snapshot);
	if (opening.outcome != OUTCOME_APPENDED)
		pointstore_raise(&opening);
	pointstore_note_opening(&account);
	PopActiveSnapshot();
}

/* Trigger of pure_account: AFTER INSERT OR UPDATE. */
Datum
pointstore_guard_pure_account(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = guarded_trigger(fcinfo, TABLE_PURE_ACCOUNT, AFTER(INSERT) | AFTER(UPDATE));
	bool		is_update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	PointstoreScope scope;

	if (pointstore_is_own_row(is_update ? trigger->tg_newtuple : trigger->tg_trigtuple))
		return PointerGetDatum(NULL);
	pointstore_act_as_owner(&scope);
	if (!is_update)
		check_new_account(trigger, pointstore_store()->table[TABLE_PURE_ACCOUNT].att, true);
	else if (pure_columns_differ(trigger))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("aggregate_id, kind and status of a pure account are not changed by hand")));
	pointstore_act_as_caller(&scope);
	return PointerGetDatum(NULL);
}

static bool
pure_columns_differ(const TriggerData *trigger)
{
	const AttrNumber *att = pointstore_store()->table[TABLE_PURE_ACCOUNT].att;

	return attribute_differs(trigger, att[PURE_AGGREGATE_ID]) ||
		attribute_differs(trigger, att[PURE_KIND]) || attribute_differs(trigger, att[PURE_STATUS]);
}

/*
 * Trigger of account_kind: AFTER UPDATE OR DELETE. A used kind keeps its name,
 * mode and unit: PS011. What sessions have read of the kinds is out of date.
 */
Datum
pointstore_guard_account_kind(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = guarded_trigger(fcinfo, TABLE_ACCOUNT_KIND, AFTER(UPDATE) | AFTER(DELETE));
	const AttrNumber *att = pointstore_store()->table[TABLE_ACCOUNT_KIND].att;
	PointstoreScope scope;

	CacheInvalidateRelcache(trigger->tg_relation);
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) &&
		!attribute_differs(trigger, att[KIND_KIND]) && !attribute_differs(trigger, att[KIND_MODE]) &&
		!attribute_differs(trigger, att[KIND_UNIT]))
		return PointerGetDatum(NULL);
	pointstore_act_as_owner(&scope);
	refuse_used_kind(known_text(trigger->tg_trigtuple, trigger, att[KIND_KIND]));
	pointstore_act_as_caller(&scope);
	return PointerGetDatum(NULL);
}

/*
 * Who opens an account locks the account tables before reading the kind; the
 * lock taken here waits for them, and a snapshot taken after it sees all.
 */
static void
refuse_used_kind(text *kind)
{
	static PointstorePlan plan = {
		.sql = "SELECT FROM pointstore.balance WHERE kind" EQ "$1"
		" UNION ALL SELECT FROM pointstore.pure_account WHERE kind" EQ "$1 LIMIT 1",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	Datum		value = PointerGetDatum(kind);

	LockRelationOid(pointstore_store()->table[TABLE_BALANCE].relid, ShareRowExclusiveLock);
	LockRelationOid(pointstore_store()->table[TABLE_PURE_ACCOUNT].relid, ShareRowExclusiveLock);
	SPI_connect();
	pointstore_prepare(&plan);
	if (SPI_execute_snapshot(plan.plan, &value, NULL, GetLatestSnapshot(), InvalidSnapshot,
							 true, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look for accounts of a kind");
	if (SPI_processed > 0)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_NOT_ALLOWED),
				 errmsg("kind \"%s\" is used", pointstore_cstring(kind)),
				 errhint("A used kind keeps its name, mode and unit and is not deleted.")));
	SPI_finish();
}

/* Trigger of hold: AFTER INSERT OR UPDATE. */
Datum
pointstore_guard_hold(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = guarded_trigger(fcinfo, TABLE_HOLD, AFTER(INSERT) | AFTER(UPDATE));
	const AttrNumber *att = pointstore_store()->table[TABLE_HOLD].att;
	bool		is_update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	bool		differs = !is_update;
	int			i;

	if (pointstore_is_own_row(is_update ? trigger->tg_newtuple : trigger->tg_trigtuple))
		return PointerGetDatum(NULL);
	for (i = 0; !differs && i < N_HOLD_COLUMNS; i++)
		differs = attribute_differs(trigger, att[i]);
	if (differs)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("holds are placed and closed by functions, not by hand")));
	return PointerGetDatum(NULL);
}

/* Trigger BEFORE UPDATE, DELETE or TRUNCATE of a table of the store's schema, which it refuses: PS006. */
Datum
pointstore_guard_append_only(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ||
		RelationGetNamespace(trigger->tg_relation) != get_namespace_oid("pointstore", true))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("guard_append_only() serves as a BEFORE UPDATE, DELETE or TRUNCATE trigger of the store")));
	ereport(ERROR,
			(errcode(ERRCODE_POINTSTORE_APPEND_ONLY),
			 errmsg("%s of table \"%s\" is not allowed",
					TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? "UPDATE" :
					TRIGGER_FIRED_BY_DELETE(trigger->tg_event) ? "DELETE" : "TRUNCATE",
					RelationGetRelationName(trigger->tg_relation)),
			 hint_instead(RelationGetRelationName(trigger->tg_relation))));
}

/* What there is to do instead of deleting, or changing, rows of a table. */
static int
hint_instead(const char *table)
{
	if (strcmp(table, "event_store") == 0)
		return errhint("A wrong event is put right by another one: reverse_event(), or one of your own.");
	if (strcmp(table, "hold") == 0)
		return errhint("cancel_hold() releases what a hold reserves; a hold that is closed stays.");
	if (strcmp(table, "balance") == 0 || strcmp(table, "pure_account") == 0)
		return errhint("close_account() closes an account; its name is not used again.");
	if (strcmp(table, "account_kind") == 0)
		return errhint("DELETE removes a kind that no account is of.");
	return 0;
}

/*
 * check_version(column [, 'auto']): an UPDATE raises the integer column by 1,
 * or the timestamptz column at all, else PS001; with auto one that leaves it
 * alone raises it. 39P01, 22023, 42703, 42804 for a wrong use.
 */
Datum
pointstore_check_version(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Trigger    *self;
	int			att;
	Oid			type;
	bool		automatic;
	bool		old_null;
	bool		new_null;
	int64		old;
	int64		new;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		!TRIGGER_FIRED_BEFORE(trigger->tg_event) || !TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("check_version() serves as a BEFORE UPDATE trigger for each row")));
	self = trigger->tg_trigger;
	automatic = self->tgnargs == 2 && strcmp(self->tgargs[1], "auto") == 0;
	if (self->tgnargs < 1 || self->tgnargs > 2 || (self->tgnargs == 2 && !automatic))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("check_version() takes a column and, perhaps, 'auto'")));
	att = SPI_fnumber(RelationGetDescr(trigger->tg_relation), self->tgargs[0]);
	if (att <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("table \"%s\" has no column \"%s\"", RelationGetRelationName(trigger->tg_relation),
						self->tgargs[0])));
	type = SPI_gettypeid(RelationGetDescr(trigger->tg_relation), att);
	if (type != INT2OID && type != INT4OID && type != INT8OID && type != TIMESTAMPTZOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" is neither an integer nor timestamptz", self->tgargs[0])));
	old = version_value(column(trigger->tg_trigtuple, trigger, att, &old_null), type);
	new = version_value(column(trigger->tg_newtuple, trigger, att, &new_null), type);
	if (automatic && !old_null && !new_null && old == new)
		return PointerGetDatum(raised_version(trigger, att, type, old));
	if (old_null || new_null || (type == TIMESTAMPTZOID ? new <= old : old == PG_INT64_MAX || new != old + 1))
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_VERSION_CONFLICT),
				 errmsg("version conflict on table \"%s\", column \"%s\": expected %s, actual %s",
						RelationGetRelationName(trigger->tg_relation), self->tgargs[0],
						old_null ? "null" : psprintf("more than " INT64_FORMAT, old),
						new_null ? "null" : psprintf(INT64_FORMAT, new))));
	return PointerGetDatum(trigger->tg_newtuple);
}

static int64
version_value(Datum value, Oid type)
{
	return type == INT2OID ? DatumGetInt16(value) : type == INT4OID ? DatumGetInt32(value)
		: DatumGetInt64(value);
}

/* The new row with its version raised: 22003 at the end of the type. */
static HeapTuple
raised_version(const TriggerData *trigger, int att, Oid type, int64 old)
{
	int64		limit = type == INT2OID ? PG_INT16_MAX : type == INT4OID ? PG_INT32_MAX : PG_INT64_MAX;
	bool		isnull = false;
	Datum		value;

	if (old >= limit)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("the version column of table \"%s\" is at its end",
						RelationGetRelationName(trigger->tg_relation))));
	value = type == INT2OID ? Int16GetDatum(old + 1) : type == INT4OID ? Int32GetDatum(old + 1)
		: Int64GetDatum(type == INT8OID ? old + 1 : Max(old + 1, GetCurrentTimestamp()));
	return heap_modify_tuple_by_cols(trigger->tg_newtuple, RelationGetDescr(trigger->tg_relation),
									 1, &att, &value, &isnull);
}
