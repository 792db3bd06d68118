/*-------------------------------------------------------------------------
 *
 * src/guard/event.c
 *		The guard of event_store: events inserted by hand.
 *
 * An event inserted by hand is numbered, checked and stamped before it is
 * stored, under its account's row lock, by the rules of append/. Its balance
 * moves only afterwards, when the row is really there: an AFTER trigger looks at
 * what was stored, and at an account's last event of the statement sets the row
 * to it. So an event that ON CONFLICT or another trigger drops leaves nothing
 * behind, and a COPY of many events of one account updates its row once.
 *
 * The next version is one more than the account's last event, which a BEFORE trigger
 * sees even when its own statement has inserted it. Between the two triggers the
 * event is noted (account/by_hand.c): what is stored must be what was let in.
 *
 * Where the balance row is ahead of the last event by this transaction's doing, the
 * event is the one it waits for. With balance_writer = caller it is the other way round as well:
 * the row stays where it is, and the caller's UPDATE must bring it to the event.
 *
 * Rows that our own functions write are known by their command id (ground/row.c)
 * and pass.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "common/int.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "account/by_hand.h"
#include "account/kind.h"
#include "account/opening.h"
#include "account/transition.h"
#include "account/id.h"
#include "append/decide.h"
#include "append/judge.h"
#include "append/leased.h"
#include "append/merge.h"
#include "append/propose.h"
#include "append/receipt.h"
#include "append/refusal.h"
#include "append/request.h"
#include "append/write.h"
#include "ground/detail.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/shard.h"
#include "ground/owner.h"
#include "ground/pointstore.h"
#include "ground/row.h"
#include "ground/scan.h"
#include "ground/stat.h"
#include "ground/step.h"
#include "guard/trigger.h"

PG_FUNCTION_INFO_V1(pointstore_guard_event_store);

/* An event as an INSERT brings it, or as it was stored. */
typedef struct RawEvent
{
	ProposedEvent event;
	Decision	decision;
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
	text	   *state_after;	/* null: none */
} RawEvent;

static void read_raw_event(RawEvent *raw, HeapTuple tuple, const TriggerData *trigger);
static HeapTuple propose_event(const TriggerData *trigger);
static void check_raw_event(RawEvent *raw);
static bool is_repeat(RawEvent *raw, Snapshot snapshot);
static bool complete_event(RawEvent *raw, Account *account, Snapshot snapshot);
static bool open_for_event(const ProposedEvent *event, Account *account, Snapshot snapshot);
static void judge_hybrid(RawEvent *raw, Account *account, const Account *last);
static bool is_unsettled(const Account *last);
static void require_amount(const RawEvent *raw, const Account *account);
static void refuse_taken_change(const RawEvent *raw, const Account *last);
static void match_change(RawEvent *raw, Account *account, const Account *last);
static void match_state(RawEvent *raw, const Account *account);
static void judge_in_between(RawEvent *raw, const Account *account, const Account *last);
static void refuse_damaged_row(const Account *account, const Account *last);
static void stamp_event(RawEvent *raw, const Account *account, const Account *last);
static HeapTuple filled_in(const RawEvent *raw, const TriggerData *trigger);
static void note_event(const RawEvent *raw);
static uint64 digest_of(const RawEvent *raw);
static uint64 digest_text(text *value, uint64 seed);
static void settle_event(const TriggerData *trigger);
static void follow_last_event(const RawEvent *raw, bool by_caller);
static void refuse_shut(const Account *account, const Account *last);

/* Trigger of event_store: BEFORE INSERT numbers and checks, AFTER INSERT moves the balance. */
Datum
pointstore_guard_event_store(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = pointstore_guarded_trigger(fcinfo, TABLE_EVENT_STORE, BEFORE(INSERT) | AFTER(INSERT));
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

/* The columns of an event; null or 0 where they are not given. */
static void
read_raw_event(RawEvent *raw, HeapTuple tuple, const TriggerData *trigger)
{
	const AttrNumber *att = pointstore_trigger_table(trigger, TABLE_EVENT_STORE)->att;
	ProposedEvent *event = &raw->event;
	bool		isnull;
	Datum		value;

	memset(raw, 0, sizeof(RawEvent));
	event->aggregate_id = pointstore_text_column(tuple, trigger, att[EV_AGGREGATE_ID]);
	event->event_type = pointstore_text_column(tuple, trigger, att[EV_EVENT_TYPE]);
	event->request_id = pointstore_text_column(tuple, trigger, att[EV_REQUEST_ID]);
	event->amount = pointstore_bigint_column(tuple, trigger, att[EV_AMOUNT], &event->any_amount);
	event->any_amount = !event->any_amount;
	value = heap_getattr(tuple, att[EV_PAYLOAD], RelationGetDescr(trigger->tg_relation), &isnull);
	event->payload = isnull ? pointstore_empty_payload() : DatumGetJsonbP(value);
	value = heap_getattr(tuple, att[EV_METADATA], RelationGetDescr(trigger->tg_relation), &isnull);
	event->metadata = isnull ? NULL : DatumGetJsonbP(value);
	event->occurred_at = pointstore_bigint_column(tuple, trigger, att[EV_OCCURRED_AT], &event->has_occurred);
	value = heap_getattr(tuple, att[EV_LEG], RelationGetDescr(trigger->tg_relation), &isnull);
	event->leg = isnull ? 0 : DatumGetInt16(value);
	raw->has_leg = !isnull;
	raw->decision.id = pointstore_bigint_column(tuple, trigger, att[EV_ID], NULL);
	event->cause_id = pointstore_bigint_column(tuple, trigger, att[EV_CAUSE_ID], &event->has_cause);
	value = heap_getattr(tuple, att[EV_PAYLOAD_VERSION], RelationGetDescr(trigger->tg_relation), &isnull);
	event->payload_version = isnull ? 0 : DatumGetInt16(value);
	event->has_payload_version = !isnull;
	raw->version = pointstore_bigint_column(tuple, trigger, att[EV_VERSION], &raw->has_version);
	raw->held = pointstore_bigint_column(tuple, trigger, att[EV_HELD], NULL);
	raw->balance_after = pointstore_bigint_column(tuple, trigger, att[EV_BALANCE_AFTER], &raw->has_balance_after);
	raw->created_at = pointstore_bigint_column(tuple, trigger, att[EV_CREATED_AT], &raw->has_created);
	raw->state_after = pointstore_some_state(pointstore_text_column(tuple, trigger, att[EV_STATE_AFTER]));
}

/* BEFORE INSERT: the row with all that the store decides filled in; NULL to skip a repeat. */
static HeapTuple
propose_event(const TriggerData *trigger)
{
	RawEvent	raw;
	bool		stored = false;
	bool		done = false;

	pointstore_refuse_in_merge();
	read_raw_event(&raw, trigger->tg_trigtuple, trigger);
	if (raw.event.aggregate_id != NULL)
		pointstore_check_place(trigger->tg_relation, TABLE_EVENT_STORE, raw.event.aggregate_id);
	raw.began = ActiveSnapshotSet() ? GetActiveSnapshot()->curcid : InvalidCommandId;
	check_raw_event(&raw);
	while (!done)
	{
		Snapshot	snapshot = pointstore_push_snapshot();
		Account		account;

		CHECK_FOR_INTERRUPTS();
		pointstore_read_account(&account, raw.event.aggregate_id, snapshot, LOCK_BY_HAND);
		PopActiveSnapshot();
		snapshot = pointstore_push_snapshot();	/* sees what the lock was waited for */
		stored = is_repeat(&raw, snapshot);
		done = stored || complete_event(&raw, &account, snapshot);
		pointstore_release_account(&account);
		PopActiveSnapshot();
	}
	if (stored)
		return NULL;
	note_event(&raw);
	return filled_in(&raw, trigger);
}

/* What an INSERT may not say, whatever the account: 22004, 22023. */
static void
check_raw_event(RawEvent *raw)
{
	ProposedEvent *event = &raw->event;

	if (event->aggregate_id == NULL || event->event_type == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", event->aggregate_id == NULL ? "aggregate_id" : "event_type")));
	pointstore_check_event(event);
	if (raw->held != 0 || event->leg < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an event inserted by hand has no held and no negative leg")));
	if (event->request_id != NULL && event->leg > 0 && event->has_cause)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an event inserted by hand has a cause_id or a leg above 0, not both"),
				 errdetail("That would make it a leg of a transfer.")));
}

/* Whether an event's request is applied already, as is then counted; PS002 where that was something else. */
static bool
is_repeat(RawEvent *raw, Snapshot snapshot)
{
	ProposedEvent *event = &raw->event;
	Decision   *decision = &raw->decision;

	if (event->request_id == NULL || !pointstore_find_request(event, decision, 1, true, snapshot))
		return false;
	pointstore_count_decision(decision);
	if (decision->outcome == OUTCOME_REQUEST_MISMATCH)
		pointstore_raise(event, decision);
	pointstore_await_durable(decision->durable);
	return true;
}

/* Decides about an event under its account's lock. False: the account was opened just now, do it again. */
static bool
complete_event(RawEvent *raw, Account *account, Snapshot snapshot)
{
	ProposedEvent *event = &raw->event;
	Decision   *decision = &raw->decision;
	Account		last = {.id = account->id};

	if (!account->exists && open_for_event(event, account, snapshot))
		return false;
	pointstore_know_account(account, snapshot);
	event->has_expected = raw->has_version;
	event->expected_version = raw->version - 1;
	(void) pointstore_last_event(&last, snapshot);
	if (account->pure || !account->exists)
	{
		require_amount(raw, account);
		pointstore_decide(event, decision, account);
	}
	else
		judge_hybrid(raw, account, &last);
	if (decision->outcome != OUTCOME_APPENDED)
	{
		pointstore_count_decision(decision);
		pointstore_raise(event, decision);
	}
	if (raw->has_balance_after && raw->balance_after != decision->balance)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("balance_after of account \"%s\" is given as %lld, and is %lld",
						pointstore_cstring(account->id), (long long) raw->balance_after,
						(long long) decision->balance)));
	if (raw->state_after != NULL && !pointstore_same_state(raw->state_after, decision->state))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("state_after of account \"%s\" is given as \"%s\", and is \"%s\"", pointstore_cstring(account->id),
						pointstore_cstring(raw->state_after), decision->state ? pointstore_cstring(decision->state) : "")));
	stamp_event(raw, account, &last);
	account->last_id = last.last_id;
	decision->id = pointstore_draw_id(account);
	raw->version = decision->version;
	raw->balance_after = decision->balance;
	raw->state_after = decision->state;
	raw->created_at = decision->created_at;
	raw->has_leg = event->request_id != NULL;
	return true;
}

/*
 * Opens a missing account under the default kind, if that may; else judging it refuses.
 * None is opened where the caller writes the balances: PS008.
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
judge_hybrid(RawEvent *raw, Account *account, const Account *last)
{
	refuse_taken_change(raw, last);
	if (is_unsettled(last))
		account->state = last->state;
	if (account->version > last->version && pointstore_row_is_ours(account->row))
	{
		require_amount(raw, account);
		match_change(raw, account, last);
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
	pointstore_decide(&raw->event, &raw->decision, account);
}

/* Whether an account's last event was inserted by hand and is not there yet for its AFTER trigger, which moves the row. */
static bool
is_unsettled(const Account *last)
{
	const EventNote *note = last->last_is_ours ? pointstore_noted_event(last->last_id) : NULL;

	return note != NULL && !note->settled;
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
match_change(RawEvent *raw, Account *account, const Account *last)
{
	ProposedEvent *event = &raw->event;
	Decision   *decision = &raw->decision;
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
		judge_in_between(raw, account, last);
		return;
	}
	decision->outcome = OUTCOME_APPENDED;
	(void) pointstore_know_lease(event, account, account->kind, NULL);
	if (account->lease_lost)
	{
		decision->outcome = OUTCOME_LEASE_LOST;
		decision->limit = account->lease_token;
		decision->requested = account->lease_shown;
	}
	else if (raw->has_version && raw->version != last->version + 1)
		decision->outcome = OUTCOME_VERSION_CONFLICT;
	else if (pg_add_s64_overflow(last->balance, event->amount, &decision->balance))
		decision->outcome = OUTCOME_OVERFLOW;
	else if (decision->balance != account->balance)
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_UNPAIRED_CHANGE),
				 errmsg("the balance of account \"%s\" changed by %lld, its event says %lld",
						pointstore_cstring(account->id),
						(long long) (account->balance - last->balance), (long long) event->amount)));
	decision->version = decision->outcome == OUTCOME_APPENDED ? last->version + 1 : last->version;
	if (decision->outcome == OUTCOME_APPENDED)
		match_state(raw, account);
}

/* The other rules were asked when the balance changed: what the event does to the account's state is known only now. */
static void
match_state(RawEvent *raw, const Account *account)
{
	Account		after = *account;

	if (account->kind != NULL)
		raw->decision.outcome = pointstore_check_transition(&raw->event, &after);
	raw->decision.state = after.state;
	if (raw->decision.outcome == OUTCOME_TRANSITION_NOT_ALLOWED)
		pointstore_tell_state(&raw->decision, account);
}

/* Of several changes that wait for their events, what each but the last was is not known: its event keeps to the rules itself. */
static void
judge_in_between(RawEvent *raw, const Account *account, const Account *last)
{
	Account		between = *account;

	between.version = last->version;
	between.balance = last->balance;
	pointstore_decide(&raw->event, &raw->decision, &between);
}

/* Row and events disagree, and not by this transaction's doing: XX001. */
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
		raw->decision.created_at = Max(now, Max(account->updated_at, last->updated_at));
		return;
	}
	raw->decision.created_at = raw->created_at;
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

/* The row as it is to be stored. */
static HeapTuple
filled_in(const RawEvent *raw, const TriggerData *trigger)
{
	const AttrNumber *att = pointstore_trigger_table(trigger, TABLE_EVENT_STORE)->att;
	const ProposedEvent *event = &raw->event;
	const Decision *decision = &raw->decision;
	int			columns[] = {
		att[EV_ID], att[EV_VERSION], att[EV_AMOUNT], att[EV_HELD], att[EV_BALANCE_AFTER],
		att[EV_PAYLOAD], att[EV_LEG], att[EV_OCCURRED_AT], att[EV_CREATED_AT], att[EV_STATE_AFTER]
	};
	Datum		values[] = {
		Int64GetDatum(decision->id), Int64GetDatum(decision->version), Int64GetDatum(event->amount),
		Int64GetDatum(0), Int64GetDatum(decision->balance), JsonbPGetDatum(event->payload),
		Int16GetDatum(event->leg),
		TimestampTzGetDatum(event->has_occurred ? event->occurred_at : decision->created_at),
		TimestampTzGetDatum(decision->created_at), PointerGetDatum(decision->state)
	};
	bool		nulls[lengthof(columns)] = {0};

	nulls[6] = !raw->has_leg;
	nulls[9] = decision->state == NULL;
	return heap_modify_tuple_by_cols(trigger->tg_trigtuple, RelationGetDescr(trigger->tg_relation),
									 lengthof(columns), columns, values, nulls);
}

/* Notes an event that is let in; an account that the caller moves is looked at before the commit. */
static void
note_event(const RawEvent *raw)
{
	EventNote	note = {
		.id = raw->decision.id, .digest = digest_of(raw), .by_caller = raw->by_caller, .matches = raw->matched
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
		raw->decision.id, raw->version, event->amount, raw->held, raw->balance_after, raw->created_at,
		raw->has_leg, raw->has_leg ? event->leg : 0, event->has_cause, event->cause_id
	};
	uint64		digest;

	if (secret == 0 && !pg_strong_random(&secret, sizeof(secret)))
		elog(ERROR, "could not draw a random number");
	digest = hash_bytes_extended((const unsigned char *) numbers, sizeof(numbers), secret);
	digest = digest_text(event->aggregate_id, digest);
	digest = digest_text(event->event_type, digest);
	digest = digest_text(event->request_id, digest);
	digest = digest_text(raw->state_after, digest);
	return digest >> 3;			/* the width of a note's */
}

/* A digest that goes on with a text, or with there being none. */
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
	note = pointstore_noted_event(raw.decision.id);
	if (note == NULL || note->digest != digest_of(&raw))
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_UNPAIRED_CHANGE),
				 errmsg("the event of account \"%s\" was changed on its way into the table",
						pointstore_cstring(raw.event.aggregate_id)),
				 errdetail("A BEFORE trigger may change payload, payload_version, metadata, occurred_at and columns of the user's own.")));
	pointstore_note_settled(raw.decision.id);
	follow_last_event(&raw, note->by_caller);
}

/*
 * Sets the row to an event, unless a later one of the account is there, or the row is there already. Where the caller
 * moves the balance, before it or afterwards, the state is still ours to move.
 */
static void
follow_last_event(const RawEvent *raw, bool by_caller)
{
	Snapshot	snapshot = pointstore_push_snapshot();
	Account		account;
	Account		last = {.id = raw->event.aggregate_id};

	(void) pointstore_last_event(&last, snapshot);
	if (last.version == raw->version)
	{
		pointstore_read_account(&account, last.id, snapshot, LOCK_BY_HAND);
		if (!by_caller)
			refuse_shut(&account, &last);
		if (account.exists && !account.pure && account.version < last.version && !by_caller)
			pointstore_follow_event(&account, &last);
		else if (account.exists && !account.pure && !pointstore_same_state(account.state, last.state))
		{
			account.state = last.state;
			(void) pointstore_change_account(&account);
		}
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
