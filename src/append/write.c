/*-------------------------------------------------------------------------
 *
 * src/append/write.c
 *		Writes the rows of a batch that has passed every rule: balances, events,
 *		holds.
 *
 * A pure account has no row to lock: the primary key of its next event decides.
 * That event is inserted speculatively, which claims the account; a backend that
 * comes second starts over. When rows of other accounts are written already, a
 * batch that stands or falls as one judges this account's events again; one whose
 * requests stand apart, or whose refusal is to be an outcome, is taken back and
 * begun anew. All row locks are taken before any such claim, both in account
 * order, so batches do not deadlock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/sequence.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "account/held.h"
#include "account/opening.h"
#include "append/batch.h"
#include "append/judge.h"
#include "append/receipt.h"
#include "append/refusal.h"
#include "append/request.h"
#include "append/write.h"
#include "ground/name.h"
#include "ground/row.h"
#include "ground/stat.h"
#include "ground/step.h"
#include "ground/store.h"

static bool write_whole(void *arg);
static bool settle_holds(Batch *batch);
static void stamp_events(Batch *batch);
static void draw_ids(Batch *batch);
static bool renew_cause(ProposedEvent *first);
static bool write_balances(Batch *batch, RowWriter *writer);
static bool write_events_guarded(Batch *batch, RowWriter *writer);
static void translate_duplicate(const Batch *batch, const RowWriter *writer);
static bool write_events(Batch *batch, RowWriter *writer);
static bool claim(Batch *batch, RowWriter *writer, Account *account);
static RowOutcome write_claim(RowWriter *writer, const ProposedEvent *event, int keys);
static bool judge_again(Batch *batch, Account *account);
static void refuse_triggered_change(const Account *account);
static void write_hold(RowWriter *writer, const ProposedEvent *event);
static void refuse_sequence(const char *why);
static RowOutcome write_event(RowWriter *writer, const ProposedEvent *event, int keys);

/*
 * Whether others may overtake a batch so that what it has written must be taken back: on
 * pure accounts, when a refusal is to be an outcome, or when the first leg of a movement gets
 * another id after another leg was written.
 */
bool
pointstore_may_be_taken_back(const Batch *batch)
{
	const Account *first = batch->events->account;
	int			i = 0;

	if (batch->apart || batch->naccounts < 2 || IsolationUsesXactSnapshot())
		return false;
	while (i < batch->naccounts && (!batch->accounts[i].pure || batch->accounts[i].nevents == 0))
		i++;
	return i < batch->naccounts &&
		(batch->refusals_are_outcomes || (batch->events->is_linked && first->pure && first > &batch->accounts[i]));
}

/* pointstore_write_batch() in a subtransaction. False: nothing of it is left. */
bool
pointstore_write_or_take_back(Batch *batch)
{
	ErrorData  *error;

	batch->overtaken = false;
	error = pointstore_attempt(write_whole, batch);
	if (error != NULL && !batch->overtaken)
		ReThrowError(error);
	return !batch->overtaken;
}

static bool
write_whole(void *arg)
{
	Batch	   *batch = arg;

	batch->overtaken = !pointstore_write_batch(batch);
	return !batch->overtaken;
}

/* Writes a batch that passed every rule. False: others were faster, nothing is written. */
bool
pointstore_write_batch(Batch *batch)
{
	static const PointstoreTableId tables[] = {TABLE_EVENT_STORE, TABLE_BALANCE, TABLE_HOLD};
	RowWriter  *writer;
	bool		holds = settle_holds(batch);
	bool		speculative = false;
	bool		hybrid = false;
	bool		done;
	int			i;

	batch->written = false;
	for (i = 0; i < batch->naccounts; i++)
	{
		Account    *account = &batch->accounts[i];

		if (account->nevents == 0)
			continue;
		batch->current = batch->first[i];
		hybrid |= !account->pure;
		speculative |= account->pure || !account->exists;
		if (account->pure && !account->exists &&
			!pointstore_open_row(account->id, account->kind, account->opened_by))
			return false;
	}
	batch->current = NULL;
	if (!hybrid && !speculative)
		return true;			/* nothing but replays */
	stamp_events(batch);
	draw_ids(batch);
	writer = pointstore_writer_begin(holds ? 3 : hybrid ? 2 : 1, tables, speculative);
	writer->gathers = batch->nevents > 1;
	done = (!hybrid || write_balances(batch, writer)) && write_events_guarded(batch, writer);
	batch->current = NULL;
	pointstore_writer_end(writer);
	return done;
}

/*
 * Brings the accounts' next_expiry to what it will be once the batch's holds are
 * placed and closed. False: there is no step of a hold among its events.
 */
static bool
settle_holds(Batch *batch)
{
	bool		holds = false;
	int			i;

	for (i = 0; i < batch->nevents; i++)
	{
		ProposedEvent *event = &batch->events[i];
		Account    *account = event->account;

		if (event->hold == NULL || event->outcome != OUTCOME_APPENDED)
			continue;
		holds = true;
		if (event->hold->status != HOLD_OPEN)
		{
			account->closing = lappend(account->closing, event->hold);
			account->expiry_moves |= !account->has_expiry || event->hold->expires_at <= account->next_expiry;
		}
		else if (!account->has_expiry || event->hold->expires_at < account->next_expiry)
		{
			account->has_expiry = true;
			account->next_expiry = event->hold->expires_at;
		}
	}
	for (i = 0; holds && i < batch->naccounts; i++)
		if (batch->accounts[i].expiry_moves)
			pointstore_find_next_expiry(&batch->accounts[i], batch->accounts[i].closing, GetActiveSnapshot());
	return holds;
}

/* The clock for each event, never before the account's previous one. */
static void
stamp_events(Batch *batch)
{
	TimestampTz now = GetCurrentTimestamp();
	int			i;

	for (i = 0; i < batch->nevents; i++)
	{
		ProposedEvent *event = &batch->events[i];

		if (event->outcome == OUTCOME_APPENDED)
			event->created_at = event->account->updated_at = Max(now, event->account->updated_at);
	}
}

/*
 * An id for each event, drawn after its account's last one was read and before anything is
 * written: so ids rise with the versions. Where no lock keeps the account as it is, others who
 * draw meanwhile either come first, and all is done anew, or read our event before they draw.
 * What users' triggers append while the batch is written comes after it.
 */
static void
draw_ids(Batch *batch)
{
	int			i;

	for (i = 0; i < batch->nevents; i++)
	{
		ProposedEvent *event = &batch->events[i];

		if (event->outcome != OUTCOME_APPENDED)
			continue;
		event->id = pointstore_draw_id(event->account);
		if (event->is_linked && event->leg == 0)
			(void) renew_cause(event);
	}
}

/* The first leg of a movement has an id: the others' cause. False: one of them is written with another. */
static bool
renew_cause(ProposedEvent *first)
{
	int			i;

	for (i = 1; i <= first->further; i++)
	{
		if (first[i].account != first->account && first[i].account->claim == &first[i])
			return false;
		first[i].has_cause = true;
		first[i].cause_id = first->id;
	}
	return true;
}

/* The balance rows, in account order; of a single account this is also its lock. */
static bool
write_balances(Batch *batch, RowWriter *writer)
{
	int			i;

	for (i = 0; i < batch->naccounts; i++)
	{
		Account    *account = &batch->accounts[i];

		CHECK_FOR_INTERRUPTS();
		if (account->pure || account->nevents == 0)
			continue;
		batch->current = batch->first[i];
		if (pointstore_write_account(writer, account) == ROW_WRITTEN)
		{
			batch->written = true;
			/* before the events, whose keys an account in the other mode may have */
			if (!account->exists)
				pointstore_note_opening(account);
			continue;
		}
		if (IsolationUsesXactSnapshot() || batch->naccounts > 1)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("account \"%s\" was opened concurrently", pointstore_cstring(account->id))));
		return false;
	}
	return true;
}

/* write_events(), with a duplicate key told for what it means here. */
static bool
write_events_guarded(Batch *batch, RowWriter *writer)
{
	volatile bool done = false;

	PG_TRY();
	{
		done = write_events(batch, writer);
		pointstore_store_gathered(writer);
	}
	PG_CATCH();
	{
		if (writer->origin != NULL)
			batch->current = writer->origin;
		translate_duplicate(batch, writer);
	}
	PG_END_TRY();
	return done;
}

/*
 * Re-throws the error at hand. A duplicate request_id: another account's twin
 * was faster by a moment (40001: the retry is told). A duplicate version: the
 * events are ahead of the balance row (XX001). A duplicate id: the sequence is behind (55000).
 */
static void
translate_duplicate(const Batch *batch, const RowWriter *writer)
{
	MemoryContext failed = MemoryContextSwitchTo(TopTransactionContext);
	ErrorData  *error = CopyErrorData();
	PointstoreIndexId key = pointstore_violated_key(writer, error);

	MemoryContextSwitchTo(failed);
	if (key < N_STORE_INDEXES)
		FlushErrorState();
	if (key == INDEX_EVENT_REQUEST || key == INDEX_HOLD || key == INDEX_HOLD_IDENTITY)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("a request of this call was applied concurrently"),
				 errhint("Repeat the call to see what it has written.")));
	if (key == INDEX_EVENT)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the events of account \"%s\" are ahead of its row",
						pointstore_cstring(batch->current->aggregate_id)),
				 errdetail("%s", error->detail ? error->detail : error->message),
				 errhint("SELECT * FROM pointstore.rebuild_balance(...); sets the row to what the events say.")));
	if (key == INDEX_EVENT_ID)
		refuse_sequence(error->detail ? error->detail : error->message);
	if (key < N_STORE_INDEXES)
		ReThrowError(error);
	PG_RE_THROW();
}

/* The events: pure accounts claim their next version first, in account order. */
static bool
write_events(Batch *batch, RowWriter *writer)
{
	int			i;

	for (i = 0; i < batch->naccounts; i++)
		if (batch->accounts[i].pure && batch->accounts[i].nevents > 0 &&
			!claim(batch, writer, &batch->accounts[i]))
			return false;
	for (i = 0; i < batch->nevents; i++)
	{
		ProposedEvent *event = &batch->events[i];

		CHECK_FOR_INTERRUPTS();
		batch->current = event;
		if (event->outcome == OUTCOME_APPENDED &&
			!(event->account->pure && event == event->account->claim))
			(void) write_event(writer, event, 0);
		if (event->outcome == OUTCOME_APPENDED && event->hold != NULL)
			write_hold(writer, event);
	}
	for (i = 0; !writer->plain && i < batch->naccounts; i++)
		if (batch->accounts[i].pure && batch->accounts[i].nevents > 0)
			refuse_triggered_change(&batch->accounts[i]);
	return true;
}

/*
 * Inserts a pure account's first event of the batch, whose key is the claim on
 * the account. False: another was faster and nothing is written yet.
 */
static bool
claim(Batch *batch, RowWriter *writer, Account *account)
{
	ProposedEvent *event;
	int			keys = KEY_OF(INDEX_EVENT);

	for (event = batch->first[account - batch->accounts]; event->outcome != OUTCOME_APPENDED;)
		event = event->next;
	account->claim = event;
	if (event->request_id != NULL)
		keys |= KEY_OF(INDEX_EVENT_REQUEST);
	batch->current = event;
	while (write_claim(writer, event, keys) == ROW_CONFLICT)
	{
		CHECK_FOR_INTERRUPTS();
		if (!batch->written && !IsolationUsesXactSnapshot())
			return false;
		/* other requests were judged by what this account was thought to be; and what is refused now would be no outcome */
		batch->overtaken = batch->apart || batch->refusals_are_outcomes || IsolationUsesXactSnapshot() ||
			!judge_again(batch, account);
		if (batch->overtaken)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("account \"%s\" changed concurrently", pointstore_cstring(account->id))));
	}
	batch->written = true;
	return true;
}

/*
 * The claim holds only while the account's row stands, which says its status and kind. Who has an
 * event of this account there already is waited for by others who change that row.
 */
static RowOutcome
write_claim(RowWriter *writer, const ProposedEvent *event, int keys)
{
	RowOutcome	outcome;

	if (!event->account->last_is_ours)
		writer->fence = event->account->row;
	outcome = write_event(writer, event, keys);
	writer->fence = NULL;
	return outcome;
}

/*
 * Judges the events of one pure account again, from its newest last event, after the
 * batch, which stands or falls as one, has begun to be written: what is refused now is an error.
 * Ids that are below that last event's are drawn anew. False: one of them is a written event's
 * cause, which has the old one; or the account counts something else now, where that matters.
 */
static bool
judge_again(Batch *batch, Account *account)
{
	Snapshot	snapshot = pointstore_push_snapshot();
	Account		before = *account;
	ProposedEvent *event;
	bool		done = true;

	/* with its row: what was in the way may have been a change of status or kind */
	pointstore_release_account(account);
	pointstore_read_account(account, before.id, snapshot, LOCK_NOTHING);
	account->nevents = before.nevents;
	account->claim = before.claim;
	/* an account without events may have come to count something else */
	if (batch->same_unit || batch->balanced)
		done = account->kind != NULL && pointstore_same_text(account->kind->unit, before.kind->unit);
	for (event = batch->first[account - batch->accounts]; event != NULL && done; event = event->next)
	{
		CHECK_FOR_INTERRUPTS();
		if (event->outcome != OUTCOME_APPENDED)
			continue;
		batch->current = event;
		if (event->request_id != NULL &&
			pointstore_find_request(event, 1, true, snapshot))
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("request \"%s\" was applied concurrently", pointstore_cstring(event->request_id)),
					 errhint("Repeat the call to see what it has written.")));
		if (event->propose == NULL || event->propose(event, snapshot))
			pointstore_judge(event, account, snapshot);
		if (event->outcome != OUTCOME_APPENDED)
		{
			pointstore_count_event(event);
			pointstore_raise(event);
		}
		event->created_at = account->updated_at = Max(event->created_at, account->updated_at);
		if (event->id <= account->last_id)
		{
			event->id = pointstore_draw_id(account);
			done = !event->is_linked || event->leg > 0 || renew_cause(event);
		}
		account->last_id = event->id;
	}
	PopActiveSnapshot();
	return done;
}

/* 27000 where a trigger of a pure account's events has changed the status or kind by which they were judged. */
static void
refuse_triggered_change(const Account *account)
{
	Snapshot	snapshot = pointstore_push_snapshot();
	Account		now;

	pointstore_read_account(&now, account->id, snapshot, LOCK_NOTHING);
	if (now.exists && (now.status != account->status || !pointstore_same_text(now.kind_name, account->kind_name)))
		pointstore_refuse_triggered_status(account->id);
	pointstore_release_account(&now);
	PopActiveSnapshot();
}

/* The row of the hold whose step an event is. */
static void
write_hold(RowWriter *writer, const ProposedEvent *event)
{
	Hold	   *hold = event->hold;

	if (hold->status == HOLD_OPEN)
	{
		hold->event_id = event->id;
		hold->has_event = true;
		hold->created_at = event->created_at;
	}
	else
		hold->closed_at = event->created_at;
	(void) pointstore_write_hold(writer, hold, 0);
}

/*
 * The next id of the store, above that of the account's last event: 55000. The transaction has
 * its own id before: so who sees an event's id drawn sees its transaction running (reconcile.c).
 * An id above all that this server knew of before it was drawn is above the
 * account's; where that is not so, or nothing is known, the account's last event is asked.
 */
int64
pointstore_draw_id(Account *account)
{
	int64		highest = pointstore_stat_highest_id();
	int64		id;

	(void) GetCurrentTransactionId();
	if (highest == 0)
		pointstore_stat_raise_id(pointstore_highest_id());
	id = nextval_internal(pointstore_store()->id_sequence, false);
	if (highest == 0 || id <= highest)
	{
		Account		last = {.id = account->id};

		if (account->last_id == 0 && pointstore_last_event(&last, GetActiveSnapshot()))
			account->last_id = last.last_id;
		if (account->last_id != 0 && id <= account->last_id)
			refuse_sequence(psprintf("id %lld is not above %lld, that of the last event of account \"%s\"", (long long) id,
									 (long long) account->last_id, pointstore_cstring(account->id)));
	}
	pointstore_stat_raise_id(id);
	account->last_id = id;
	return id;
}

/* The sequence does not give what it should. */
static void
refuse_sequence(const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the ids of events do not rise: %s", why),
			 errdetail("The sequence pointstore.event_store_id_seq was set back, or behind what was restored or replicated, or has other settings than it was created with."),
			 errhint("SELECT setval('pointstore.event_store_id_seq', max(id)) FROM pointstore.event_store;")));
}

/*
 * Brings the events of a locked account to its balance: an event BalanceAdjusted
 * after the last one, and the row's version with it. No rule is asked.
 */
void
pointstore_append_adjustment(Account *account, int64 last_version, int64 amount, Jsonb *payload)
{
	static const PointstoreTableId tables[] = {TABLE_EVENT_STORE, TABLE_BALANCE};
	RowWriter  *writer = pointstore_writer_begin(2, tables, false);
	ProposedEvent event = {
		.aggregate_id = account->id, .event_type = cstring_to_text("BalanceAdjusted"),
		.payload = payload, .amount = amount, .account = account, .version = last_version + 1,
		.balance = account->balance, .id = pointstore_draw_id(account)
	};

	event.created_at = account->updated_at = Max(GetCurrentTimestamp(), account->updated_at);
	account->version = event.version;
	if (pointstore_write_account(writer, account) != ROW_WRITTEN)
		elog(ERROR, "the row of a locked account has moved");
	(void) write_event(writer, &event, 0);
	pointstore_writer_end(writer);
}

/* Inserts one event. ROW_CONFLICT, where keys are given: its version or its request is there. */
static RowOutcome
write_event(RowWriter *writer, const ProposedEvent *event, int keys)
{
	RowTarget  *target = &writer->targets[0];
	const AttrNumber *att = target->table->att;
	TupleTableSlot *slot = target->slot;

	pointstore_row_begin(target, NULL);
	writer->origin = unconstify(ProposedEvent *, event);
#define SET(column, value) \
	(slot->tts_values[att[column] - 1] = (value), slot->tts_isnull[att[column] - 1] = false)
	SET(EV_ID, Int64GetDatum(event->id));
	SET(EV_AGGREGATE_ID, PointerGetDatum(event->aggregate_id));
	SET(EV_VERSION, Int64GetDatum(event->version));
	SET(EV_EVENT_TYPE, PointerGetDatum(event->event_type));
	SET(EV_AMOUNT, Int64GetDatum(event->amount));
	SET(EV_HELD, Int64GetDatum(event->held));
	SET(EV_BALANCE_AFTER, Int64GetDatum(event->balance));
	SET(EV_PAYLOAD, JsonbPGetDatum(event->payload));
	if (event->metadata != NULL)
		SET(EV_METADATA, JsonbPGetDatum(event->metadata));
	if (event->request_id != NULL)
		SET(EV_REQUEST_ID, PointerGetDatum(event->request_id));
	if (event->request_id != NULL || event->is_linked)
		SET(EV_LEG, Int16GetDatum(event->leg));
	if (event->has_cause)
		SET(EV_CAUSE_ID, Int64GetDatum(event->cause_id));
	SET(EV_OCCURRED_AT, TimestampTzGetDatum(event->has_occurred ? event->occurred_at : event->created_at));
	SET(EV_CREATED_AT, TimestampTzGetDatum(event->created_at));
#undef SET
	ExecStoreVirtualTuple(slot);
	return pointstore_row_insert(writer, target, keys);
}
