/*-------------------------------------------------------------------------
 *
 * src/append/write.c
 *		Writes the rows of a batch that has passed every rule: balances, events,
 *		holds.
 *
 * A pure account has no row to lock: the primary key of its next event decides.
 * That event is inserted speculatively, which claims the account; a backend that
 * comes second starts over. When rows of other accounts are written already, a
 * batch that stands or falls as one judges this account's events again; one of
 * independent requests, or whose refusal is to be an outcome, is taken back and
 * begun anew. All row locks are taken before any such claim, both in account
 * order, so batches do not deadlock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
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
#include "append/columns.h"
#include "append/decide.h"
#include "account/id.h"
#include "append/judge.h"
#include "append/merge.h"
#include "append/receipt.h"
#include "append/refusal.h"
#include "append/request.h"
#include "append/write.h"
#include "ground/compat.h"
#include "ground/name.h"
#include "ground/plan.h"
#include "ground/row.h"
#include "ground/stat.h"
#include "ground/step.h"
#include "ground/store.h"

static Attempt write_or_take_back(BatchWork *work);
static bool write_whole(void *arg);
static bool may_be_taken_back(const BatchWork *work);
static Attempt write_rows(BatchWork *work);
static bool open_pure_accounts(BatchWork *work, bool *hybrid, bool *speculative);
static bool settle_holds(BatchWork *work);
static void stamp_events(BatchWork *work);
static void draw_ids(BatchWork *work);
static bool renew_cause(BatchEvent *first);
static Attempt write_balances(BatchWork *work, RowWriter *writer);
static Attempt write_events_guarded(BatchWork *work, RowWriter *writer);
pg_noreturn static void translate_duplicate(const Batch *batch, const RowWriter *writer);
static Attempt write_events(BatchWork *work, RowWriter *writer);
static Attempt claim(BatchWork *work, RowWriter *writer, Account *account);
static RowOutcome write_claim(RowWriter *writer, const BatchEvent *event, int keys);
static bool judge_again(BatchWork *work, Account *account);
static void judge_event_again(BatchEvent *event, Snapshot snapshot);
static void refuse_triggered_change(const Account *account);
static void write_hold(RowWriter *writer, const BatchEvent *event);
pg_noreturn static void refuse_overtaken(const ProposedEvent *event);
static RowOutcome write_event(RowWriter *writer, const ProposedEvent *event, const Decision *decision, int keys);

/*
 * Writes a batch that has passed every rule. Where others overtake it so that what it has written
 * must be taken back, that is ATTEMPT_AGAIN_FRESH when it was foreseen, and 40001 when not.
 */
Attempt
pointstore_write_batch(BatchWork *work)
{
	Attempt		result;

	if (may_be_taken_back(work))
		return write_or_take_back(work);
	result = write_rows(work);
	if (result == ATTEMPT_AGAIN_FRESH)
		refuse_overtaken(work->batch->current);
	return result;
}

/* write_rows() in a subtransaction, of which nothing is left unless it is done. */
static Attempt
write_or_take_back(BatchWork *work)
{
	ErrorData  *error = pointstore_attempt(write_whole, work);

	if (error != NULL)
		ReThrowError(error);
	return work->attempt == ATTEMPT_DONE ? ATTEMPT_DONE : ATTEMPT_AGAIN_FRESH;
}

static bool
write_whole(void *arg)
{
	BatchWork  *work = arg;

	work->attempt = write_rows(work);
	return work->attempt == ATTEMPT_DONE;
}

/*
 * Whether others may overtake a batch so that what it has written must be taken back: on
 * pure accounts, when a refusal is to be an outcome, or when the first leg of a movement gets
 * another id after another leg was written.
 */
static bool
may_be_taken_back(const BatchWork *work)
{
	const Batch *batch = work->batch;
	const Account *first = work->events->account;
	int			i = 0;

	if (batch->independent || work->naccounts < 2 || IsolationUsesXactSnapshot())
		return false;
	while (i < work->naccounts && (!work->accounts[i].pure || work->accounts[i].nevents == 0))
		i++;
	return i < work->naccounts &&
		(batch->refusals_are_outcomes || (batch->proposals->is_linked && first->pure && first > &work->accounts[i]));
}

/*
 * Writes a batch. ATTEMPT_AGAIN_LOCKED: others were faster, nothing is written;
 * ATTEMPT_AGAIN_FRESH: some rows are, and are to be taken back.
 */
static Attempt
write_rows(BatchWork *work)
{
	static const PointstoreTableId tables[] = {TABLE_EVENT_STORE, TABLE_BALANCE, TABLE_HOLD};
	Batch	   *batch = work->batch;
	RowWriter  *writer;
	bool		holds = settle_holds(work);
	bool		hybrid = false;
	bool		speculative = false;
	Attempt		result = ATTEMPT_DONE;

	batch->written = false;
	if (!open_pure_accounts(work, &hybrid, &speculative))
		return ATTEMPT_AGAIN_LOCKED;
	if (!hybrid && !speculative)
		return ATTEMPT_DONE;	/* nothing but replays */
	stamp_events(work);
	draw_ids(work);
	writer = pointstore_writer_begin(NULL, holds ? 3 : hybrid ? 2 : 1, tables, speculative);
	writer->gathers = batch->nevents > 1;
	writer->current = (const void **) &batch->current;
	if (hybrid)
		result = write_balances(work, writer);
	if (result == ATTEMPT_DONE)
		result = write_events_guarded(work, writer);
	if (result == ATTEMPT_AGAIN_FRESH)
		return result;			/* ends with the subtransaction, or in an error */
	batch->current = NULL;
	pointstore_writer_end(writer);
	return result;
}

/*
 * Opens the pure accounts that are missing; false when others were faster. Says whether there
 * are hybrid accounts to be written, and whether a row may meet one of others.
 */
static bool
open_pure_accounts(BatchWork *work, bool *hybrid, bool *speculative)
{
	int			i;

	for (i = 0; i < work->naccounts; i++)
	{
		Account    *account = &work->accounts[i];

		if (account->nevents == 0)
			continue;
		work->batch->current = work->first[i]->proposal;
		*hybrid |= !account->pure;
		*speculative |= account->pure || !account->exists;
		if (account->pure && !account->exists &&
			!pointstore_open_row(account->id, account->kind, account->opened_by))
			return false;
	}
	work->batch->current = NULL;
	return true;
}

/*
 * Brings the accounts' next_expiry to what it will be once the batch's holds are
 * placed and closed. False: there is no step of a hold among its events.
 */
static bool
settle_holds(BatchWork *work)
{
	bool		holds = false;
	int			i;

	for (i = 0; i < work->batch->nevents; i++)
	{
		Hold	   *hold = work->events[i].proposal->hold;
		Account    *account = work->events[i].account;

		if (hold == NULL || work->events[i].decision->outcome != OUTCOME_APPENDED)
			continue;
		holds = true;
		if (hold->status != HOLD_OPEN)
		{
			account->closing = lappend(account->closing, hold);
			account->expiry_moves |= !account->has_expiry || hold->expires_at <= account->next_expiry;
		}
		else if (!account->has_expiry || hold->expires_at < account->next_expiry)
		{
			account->has_expiry = true;
			account->next_expiry = hold->expires_at;
		}
	}
	for (i = 0; holds && i < work->naccounts; i++)
		if (work->accounts[i].expiry_moves)
			pointstore_find_next_expiry(&work->accounts[i], work->accounts[i].closing, GetActiveSnapshot());
	return holds;
}

/* The clock for each event, never before the account's previous one. */
static void
stamp_events(BatchWork *work)
{
	TimestampTz now = GetCurrentTimestamp();
	int			i;

	for (i = 0; i < work->batch->nevents; i++)
	{
		BatchEvent *event = &work->events[i];

		if (event->decision->outcome == OUTCOME_APPENDED)
			event->decision->created_at = event->account->updated_at = Max(now, event->account->updated_at);
	}
}

/*
 * An id for each event, drawn after its account's last one was read and before anything is
 * written: so ids rise with the versions. Where no lock keeps the account as it is, others who
 * draw meanwhile either come first, and all is done anew, or read our event before they draw.
 * What users' triggers append while the batch is written comes after it.
 */
static void
draw_ids(BatchWork *work)
{
	int			i;

	for (i = 0; i < work->batch->nevents; i++)
	{
		BatchEvent *event = &work->events[i];

		if (event->decision->outcome != OUTCOME_APPENDED)
			continue;
		event->decision->id = pointstore_draw_id(event->account);
		if (event->proposal->is_linked && event->proposal->leg == 0)
			(void) renew_cause(event);
	}
}

/* The first leg of a movement has an id: the others' cause. False: one of them is written with another. */
static bool
renew_cause(BatchEvent *first)
{
	int			i;

	for (i = 1; i <= first->proposal->followers; i++)
	{
		if (first[i].account != first->account && first[i].account->claim == &first[i])
			return false;
		first[i].proposal->has_cause = true;
		first[i].proposal->cause_id = first->decision->id;
	}
	return true;
}

/* The balance rows, in account order; of a single account this is also its lock. */
static Attempt
write_balances(BatchWork *work, RowWriter *writer)
{
	int			i;

	for (i = 0; i < work->naccounts; i++)
	{
		Account    *account = &work->accounts[i];

		CHECK_FOR_INTERRUPTS();
		if (account->pure || account->nevents == 0)
			continue;
		work->batch->current = work->first[i]->proposal;
		if (pointstore_write_account(writer, account) == ROW_WRITTEN)
		{
			work->batch->written = true;
			/* before the events, whose keys an account in the other mode may have */
			if (!account->exists)
				pointstore_note_opening(account);
			continue;
		}
		if (IsolationUsesXactSnapshot() || work->naccounts > 1)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("account \"%s\" was opened concurrently", pointstore_cstring(account->id))));
		return ATTEMPT_AGAIN_LOCKED;
	}
	return ATTEMPT_DONE;
}

/* write_events(), with a duplicate key told for what it means here. */
static Attempt
write_events_guarded(BatchWork *work, RowWriter *writer)
{
	volatile Attempt result = ATTEMPT_DONE;

	PG_TRY();
	{
		result = write_events(work, writer);
		pointstore_store_gathered(writer);
	}
	PG_CATCH();
	{
		translate_duplicate(work->batch, writer);
	}
	PG_END_TRY();
	return result;
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
		pointstore_refuse_sequence(error->detail ? error->detail : error->message, 0);
	if (key < N_STORE_INDEXES)
		ReThrowError(error);
	PG_RE_THROW();
}

/* The events: pure accounts claim their next version first, in account order. */
static Attempt
write_events(BatchWork *work, RowWriter *writer)
{
	Attempt		claimed = ATTEMPT_DONE;
	int			i;

	for (i = 0; i < work->naccounts && claimed == ATTEMPT_DONE; i++)
		if (work->accounts[i].pure && work->accounts[i].nevents > 0)
			claimed = claim(work, writer, &work->accounts[i]);
	if (claimed != ATTEMPT_DONE)
		return claimed;
	for (i = 0; i < work->batch->nevents; i++)
	{
		BatchEvent *event = &work->events[i];

		CHECK_FOR_INTERRUPTS();
		work->batch->current = event->proposal;
		if (event->decision->outcome != OUTCOME_APPENDED)
			continue;
		if (!event->account->pure || event != event->account->claim)
			(void) write_event(writer, event->proposal, event->decision, 0);
		if (event->proposal->hold != NULL)
			write_hold(writer, event);
	}
	for (i = 0; !writer->plain && i < work->naccounts; i++)
		if (work->accounts[i].pure && work->accounts[i].nevents > 0)
			refuse_triggered_change(&work->accounts[i]);
	return ATTEMPT_DONE;
}

/*
 * Inserts a pure account's first event of the batch, whose key is the claim on the account.
 * Another may have been faster: while nothing is written the batch is judged anew, else only this
 * account's events, where that is enough.
 */
static Attempt
claim(BatchWork *work, RowWriter *writer, Account *account)
{
	Batch	   *batch = work->batch;
	BatchEvent *event;
	int			keys = KEY_OF(INDEX_EVENT);

	for (event = work->first[account - work->accounts]; event->decision->outcome != OUTCOME_APPENDED;)
		event = event->next;
	account->claim = event;
	if (event->proposal->request_id != NULL)
		keys |= KEY_OF(INDEX_EVENT_REQUEST);
	batch->current = event->proposal;
	while (write_claim(writer, event, keys) == ROW_CONFLICT)
	{
		CHECK_FOR_INTERRUPTS();
		if (!batch->written && !IsolationUsesXactSnapshot())
			return ATTEMPT_AGAIN_LOCKED;
		/* other requests were judged by what this account was thought to be; and what is refused now would be no outcome */
		if (batch->independent || batch->refusals_are_outcomes || IsolationUsesXactSnapshot() ||
			!judge_again(work, account))
			return ATTEMPT_AGAIN_FRESH;
	}
	batch->written = true;
	return ATTEMPT_DONE;
}

/*
 * The claim holds only while the account's row stands, which says its status and kind. A transaction
 * that has an event of this account there already is waited for by others that change the row.
 */
static RowOutcome
write_claim(RowWriter *writer, const BatchEvent *event, int keys)
{
	RowOutcome	outcome;

	if (!event->account->last_is_ours)
		writer->fence = event->account->row;
	outcome = write_event(writer, event->proposal, event->decision, keys);
	writer->fence = NULL;
	return outcome;
}

/*
 * Judges the events of one pure account again, from its newest last event, after the
 * batch, which stands or falls as one, has begun to be written: what is refused now is an error.
 * Ids that are below that last event's are drawn anew. False: one of them is a written event's
 * cause, which has the old one; or the account counts something else now, or a merged event another amount, where that matters.
 */
static bool
judge_again(BatchWork *work, Account *account)
{
	Snapshot	snapshot = pointstore_push_snapshot();
	Batch	   *batch = work->batch;
	Account		before = *account;
	BatchEvent *event;
	int64		amount;
	bool		done = true;

	/* with its row: what was in the way may have been a change of status or kind */
	pointstore_release_account(account);
	pointstore_read_account(account, before.id, snapshot, LOCK_NOTHING);
	pointstore_know_account(account, snapshot);
	account->nevents = before.nevents;
	account->claim = before.claim;
	/* an account without events may have come to count something else */
	if (batch->same_unit || batch->balanced)
		done = account->kind != NULL && pointstore_same_text(account->kind->unit, before.kind->unit);
	for (event = work->first[account - work->accounts]; event != NULL && done; event = event->next)
	{
		CHECK_FOR_INTERRUPTS();
		if (event->decision->outcome != OUTCOME_APPENDED)
			continue;
		batch->current = event->proposal;
		amount = event->proposal->amount;
		judge_event_again(event, snapshot);
		done = !batch->balanced || event->proposal->amount == amount;
		if (event->decision->id <= account->last_id)
		{
			event->decision->id = pointstore_draw_id(account);
			done &= !event->proposal->is_linked || event->proposal->leg > 0 || renew_cause(event);
		}
		account->last_id = event->decision->id;
	}
	PopActiveSnapshot();
	return done;
}

/* The event keeps its id and, unless the account has moved on since, its time. */
static void
judge_event_again(BatchEvent *event, Snapshot snapshot)
{
	Account    *account = event->account;
	ProposedEvent *proposal = event->proposal;
	Decision   *decision = event->decision;
	Decision	before = *decision;

	if (proposal->request_id != NULL &&
		pointstore_find_request(proposal, decision, 1, true, snapshot))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("request \"%s\" was applied concurrently", pointstore_cstring(proposal->request_id)),
				 errhint("Repeat the call to see what it has written.")));
	memset(decision, 0, sizeof(Decision));
	pointstore_unmerge(proposal);
	if (proposal->propose == NULL || proposal->propose(event, snapshot) == PROPOSING_DONE)
		pointstore_decide(proposal, decision, account);
	if (decision->outcome == OUTCOME_VERSION_CONFLICT)
		pointstore_merge(event, false);
	if (decision->outcome != OUTCOME_APPENDED)
	{
		pointstore_count_decision(decision);
		pointstore_raise(proposal, decision);
	}
	decision->id = before.id;
	decision->created_at = account->updated_at = Max(before.created_at, account->updated_at);
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
write_hold(RowWriter *writer, const BatchEvent *event)
{
	Hold	   *hold = event->proposal->hold;

	if (hold->status == HOLD_OPEN)
	{
		hold->event_id = event->decision->id;
		hold->has_event = true;
		hold->created_at = event->decision->created_at;
	}
	else
		hold->closed_at = event->decision->created_at;
	(void) pointstore_write_hold(writer, hold, 0);
}

/* 40001: others have appended to the account of an event after it was judged. */
static void
refuse_overtaken(const ProposedEvent *event)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("account \"%s\" changed concurrently", pointstore_cstring(event->aggregate_id))));
}

/*
 * Brings the events of a locked account to its balance: an event BalanceAdjusted
 * after the last one, and the row's version with it. No rule is asked.
 */
void
pointstore_append_adjustment(Account *account, int64 last_version, int64 amount, Jsonb *payload)
{
	static const PointstoreTableId tables[] = {TABLE_EVENT_STORE, TABLE_BALANCE};
	RowWriter  *writer = pointstore_writer_begin(account->id, 2, tables, false);
	ProposedEvent event = {
		.aggregate_id = account->id, .event_type = cstring_to_text("BalanceAdjusted"),
		.payload = payload, .amount = amount
	};
	Decision	decision = {
		.version = last_version + 1, .balance = account->balance, .id = pointstore_draw_id(account), .state = account->state
	};

	decision.created_at = account->updated_at = Max(GetCurrentTimestamp(), account->updated_at);
	account->version = decision.version;
	if (pointstore_write_account(writer, account) != ROW_WRITTEN)
		elog(ERROR, "the row of a locked account has moved");
	(void) write_event(writer, &event, &decision, 0);
	pointstore_writer_end(writer);
}

/* Inserts one event. ROW_CONFLICT, where keys are given: its version or its request is there. */
static RowOutcome
write_event(RowWriter *writer, const ProposedEvent *event, const Decision *decision, int keys)
{
	RowTarget  *target = pointstore_writer_target(writer, event->aggregate_id, TABLE_EVENT_STORE);
	TupleTableSlot *slot = target->slot;
	EventColumns columns;
	int			i;

	pointstore_event_columns(&columns, event, decision);
	pointstore_set_column(&columns, EV_ID, Int64GetDatum(decision->id));
	pointstore_set_column(&columns, EV_CREATED_AT, TimestampTzGetDatum(decision->created_at));
	if (!event->has_occurred)
		pointstore_set_column(&columns, EV_OCCURRED_AT, TimestampTzGetDatum(decision->created_at));
	pointstore_row_begin(target, NULL);
	for (i = 0; i < N_EVENT_COLUMNS; i++)
	{
		int			place = target->table->att[i] - 1;

		slot->tts_values[place] = columns.values[i];
		slot->tts_isnull[place] = columns.nulls[i];
	}
	ExecStoreVirtualTuple(slot);
	return pointstore_row_insert(writer, target, keys);
}
