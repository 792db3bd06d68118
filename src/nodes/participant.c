/*-------------------------------------------------------------------------
 *
 * src/nodes/participant.c
 *		What a store is asked about steps of movements: try, confirm, cancel.
 *
 * What is done about a message, and how it is answered, depends on the step's row alone (protocol.c): whatever
 * comes late, twice or in another order finds in it what has been done. So all three protocols have one
 * row, and one way through: rows are read, events are proposed and appended as one batch of independent
 * requests, rows are written. Where that fails each message goes by itself, in a subtransaction, and what fails
 * then is its answer alone: a try is refused, what may not be refused has failed, and what says nothing of the
 * message itself is busy, to be asked again.
 *
 * Confirm, cancel and undo pass every rule but what bigint has room for: these were judged at the try.
 *
 * Locks, in this order: the step, by an advisory lock that SQL cannot name, to the end of the
 * transaction, a prepared one's included; its account, as of every batch. Rows are read under the step's lock, in a
 * snapshot taken then, and so is the newest incarnation of the origin: a message of an earlier
 * one that has waited is refused. Nothing is waited for: what another transaction has is busy. Only as a movement starts, in its
 * caller's transaction, are locks waited for, and a message that was busy often waits for its account a little, before any
 * other of the call has taken a lock on one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "common/int.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"

#include "account/account.h"
#include "account/kind.h"
#include "append/append.h"
#include "append/batch.h"
#include "append/receipt.h"
#include "append/refusal.h"
#include "ground/identity.h"
#include "ground/inject.h"
#include "ground/name.h"
#include "ground/owner.h"
#include "ground/pointstore.h"
#include "ground/step.h"
#include "ground/store.h"
#include "nodes/participant.h"
#include "nodes/participant_event.h"
#include "nodes/participant_row.h"
#include "nodes/sender.h"

#define STEP_LOCK_KIND 18		/* field of an advisory lock tag, which users' numbers do not reach */
#define PATIENCE "50"			/* ms that a patient message waits for a lock */

/* Messages that are worked on together: no two of a step. */
typedef struct Round
{
	PartOrigin *origin;
	StepWork  **work;
	int			n;
	bool		waits;			/* for locks: one message, or a caller's own */
	bool		is_refused;
} Round;

static void raise_refused(const StepMessage *messages, int n);
static void reach_points(const StepMessage *messages, int n);
static void take_patient(PartOrigin *origin, StepWork *work, int n, bool *taken);
static void take_rounds(PartOrigin *origin, StepWork *work, int n, bool *taken);
static void take_round(Round *round);
static int	lock_steps(Round *round);
static bool lock_step(uint64 hash, bool waits);
static uint64 hash_step(const pg_uuid_t *store, text *movement_id, int16 step);
static void begin_message(const PartOrigin *origin, StepWork *work);
static void apply_all(Round *round);
static ErrorData *apply(Round *round);
static bool apply_round(void *arg);
static void settle(Round *round, StepWork *work, const ProposedEvent *event, const Decision *decision);
static void refuse(StepWork *work, const ProposedEvent *event, const Decision *decision);
static void answer_error(StepWork *work, const ErrorData *error);
static bool is_passing(int sqlerrcode);
static void tell_units(Round *round);
static void tell_unit(StepMessage *message, text *id);

/*
 * Takes messages about steps of an origin's movements and answers each; of a distributed store those whose accounts are here: PS013. In the caller's
 * transaction; durable when that has committed, which whoever passes the answers on waits for. From
 * away: 55000 where the origin has a newer incarnation.
 */
void
pointstore_take_here(PartOrigin *origin, StepMessage *messages, int n)
{
	StepWork   *work = palloc0(sizeof(StepWork) * Max(n, 1));
	bool	   *taken = palloc0(sizeof(bool) * Max(n, 1));
	PointstoreScope scope;
	int			i;

	pointstore_act_as_owner(&scope);
	for (i = 0; i < n; i++)
	{
		work[i].message = &messages[i];
		begin_message(origin, &work[i]);
		work[i].hash = hash_step(origin->store, messages[i].movement_id, messages[i].step);
	}
	if (origin->source != MESSAGES_OF_CALLER)
		take_patient(origin, work, n, taken);
	take_rounds(origin, work, n, taken);
	for (i = 0; i < n; i++)
		if (messages[i].answer == ANSWER_BUSY && messages[i].verb == VERB_TRY && messages[i].protocol == PROTOCOL_2PC)
			tell_unit(&messages[i], messages[i].aggregate_id);
	pointstore_act_as_caller(&scope);
	if (origin->source == MESSAGES_OF_CALLER)
		raise_refused(messages, n);
	reach_points(messages, n);
}

/* A refusal of a caller's own step that the step's row has decided is an error too. */
static void
raise_refused(const StepMessage *messages, int n)
{
	int			i;

	for (i = 0; i < n; i++)
		if (messages[i].answer == ANSWER_REFUSED || messages[i].answer == ANSWER_FAILED)
			ereport(ERROR,
					(errcode(messages[i].sqlerrcode),
					 errmsg_internal("%s", messages[i].error)));
}

/* For tests: before what was done is committed. */
static void
reach_points(const StepMessage *messages, int n)
{
	static const char *const points[N_ANSWERS] = {
		[ANSWER_TRIED] = "participant-tried", [ANSWER_DONE] = "participant-tried",
		[ANSWER_CONFIRMED] = "participant-confirmed", [ANSWER_CANCELLED] = "participant-cancelled"
	};
	int			i;

	for (i = 0; i < n; i++)
		if (points[messages[i].answer] != NULL)
			POINTSTORE_INJECT(points[messages[i].answer]);
}

/* What an operator says of a step: as a message, recorded as the operator's. */
void
pointstore_take_word(PartOrigin *origin, StepMessage *message, const char *role, const char *reason)
{
	StepWork	work = {.message = message, .ended_by = role, .reason = reason};
	StepWork   *all = &work;
	Round		round = {.origin = origin, .work = &all, .n = 1, .waits = true};
	PointstoreScope scope;

	pointstore_act_as_owner(&scope);
	begin_message(origin, &work);
	work.hash = hash_step(origin->store, message->movement_id, message->step);
	take_round(&round);
	pointstore_act_as_caller(&scope);
}

/* Of a step among all of this database's; two that have the same are not worked on at once. */
static uint64
hash_step(const pg_uuid_t *store, text *movement_id, int16 step)
{
	uint64		hash = hash_bytes_extended(store->data, UUID_LEN, step);

	return hash_combine64(hash, hash_bytes_extended((const unsigned char *) VARDATA_ANY(movement_id), VARSIZE_ANY_EXHDR(movement_id), 0));
}

/* Nothing is answered yet. The store's own steps of 2pc are reservations: they are fused into the coordinator's transactions. */
static void
begin_message(const PartOrigin *origin, StepWork *work)
{
	StepMessage *message = work->message;

	if (origin->source != MESSAGES_FROM_AWAY && message->protocol == PROTOCOL_2PC)
		message->protocol = PROTOCOL_TCC;
	message->answer = ANSWER_BUSY;
	message->unit = NULL;
	message->event_id = 0;
	message->sqlerrcode = 0;
	message->error = NULL;
	work->event = -1;
}

/* The message that was busy most often, if that is often, goes first and waits for its account a little. */
static void
take_patient(PartOrigin *origin, StepWork *work, int n, bool *taken)
{
	StepWork   *patient = NULL;
	Round		round = {.origin = origin, .work = &patient, .n = 1, .waits = true};
	PointstoreScope scope;
	int			i;

	for (i = 0; i < n; i++)
		if (work[i].message->attempt >= PATIENT_ATTEMPT &&
			(patient == NULL || work[i].message->attempt > patient->message->attempt))
			patient = &work[i];
	if (patient == NULL)
		return;
	for (i = 0; &work[i] < patient; i++)
		if (work[i].hash == patient->hash)
			return;				/* what comes before it of the same step goes first */
	pointstore_act_as_owner(&scope);
	pointstore_set_option("lock_timeout", PATIENCE);
	take_round(&round);
	pointstore_act_as_caller(&scope);
	taken[patient - work] = true;
}

/* All others, so many at once that no two are of the same step, in their order. */
static void
take_rounds(PartOrigin *origin, StepWork *work, int n, bool *taken)
{
	StepWork  **some = palloc(sizeof(StepWork *) * Max(n, 1));
	bool		is_any = true;
	int			i;
	int			j;

	while (is_any)
	{
		Round		round = {.origin = origin, .work = some, .waits = origin->source == MESSAGES_OF_CALLER};

		CHECK_FOR_INTERRUPTS();
		is_any = false;
		for (i = 0; i < n; i++)
		{
			for (j = 0; !taken[i] && j < round.n && some[j]->hash != work[i].hash; j++)
				 /* look on */ ;
			if (!taken[i] && j == round.n)
				some[round.n++] = &work[i];
			is_any |= !taken[i];
		}
		for (i = 0; i < round.n; i++)
			taken[some[i] - work] = true;
		if (round.n > 0)
			take_round(&round);
	}
	pfree(some);
}

/* Messages of different steps: their rows are locked and read, what these say is done, and what was done written. */
static void
take_round(Round *round)
{
	PartOrigin *origin = round->origin;
	int			i;

	round->n = lock_steps(round);
	if (round->n == 0)
		return;
	if (!origin->is_self || !pointstore_is_distributed())
	{
		(void) pointstore_push_snapshot();
		pointstore_read_parts(origin, round->work, round->n);
		PopActiveSnapshot();
	}
	if (origin->source == MESSAGES_FROM_AWAY && origin->known > origin->incarnation)
		pointstore_refuse_fenced(origin);
	for (i = 0; i < round->n; i++)
		pointstore_decide_step(origin, round->work[i]);
	apply_all(round);
	tell_units(round);
}

/* Locks the steps; those that others have, which are busy, are left out: how many are left. */
static int
lock_steps(Round *round)
{
	bool		begins = round->origin->source == MESSAGES_OF_CALLER;
	bool		waits = begins || round->work[0]->ended_by != NULL;
	int			n = 0;
	int			i;

	/* of a movement that this transaction begins nobody else knows; but where its row is on another node, which may have committed it before this one has */
	if (begins && !pointstore_is_distributed())
		return round->n;
	for (i = 0; i < round->n; i++)
		if (lock_step(round->work[i]->hash, waits))
			round->work[n++] = round->work[i];
	return n;
}

/* To the end of the transaction. */
static bool
lock_step(uint64 hash, bool waits)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash, STEP_LOCK_KIND);
	return LockAcquire(&tag, ExclusiveLock, false, !waits) != LOCKACQUIRE_NOT_AVAIL;
}

/* Does what was decided: all at once, or, where something in it fails, each by itself. */
static void
apply_all(Round *round)
{
	StepWork  **all = round->work;
	ErrorData  *error;
	int			i;

	if (round->origin->source == MESSAGES_OF_CALLER || all[0]->ended_by != NULL)
	{
		(void) apply_round(round);
		return;
	}
	error = apply(round);
	if (error == NULL)
		return;
	if (round->n == 1)
		answer_error(all[0], error);
	for (i = 0; round->n > 1 && i < round->n; i++)
	{
		Round		one = {.origin = round->origin, .work = &all[i], .n = 1};

		CHECK_FOR_INTERRUPTS();
		error = apply(&one);
		if (error != NULL)
			answer_error(all[i], error);
	}
}

/* In a subtransaction, of which nothing is left where it fails: its error, or NULL. */
static ErrorData *
apply(Round *round)
{
	ErrorData  *error;
	int			i;

	for (i = 0; i < round->n; i++)
		if (pointstore_changes_something(round->work[i]))
			break;
	if (i == round->n)
		return apply_round(round) ? NULL : NULL;
	error = pointstore_attempt(apply_round, round);
	for (i = 0; error != NULL && i < round->n; i++)
		round->work[i]->is_done = false;
	return error;
}

/* Appends the events of what was decided, answers, and writes the rows. False: a refusal that leaves nothing behind. */
static bool
apply_round(void *arg)
{
	Round	   *round = arg;
	Batch		batch = {.proposals = palloc0(sizeof(ProposedEvent) * round->n)};
	bool		raises = round->origin->source == MESSAGES_OF_CALLER;
	int			i;

	for (i = 0; i < round->n; i++)
	{
		StepWork   *work = round->work[i];

		work->event = -1;
		if (pointstore_step_event(round->origin, work, &batch.proposals[batch.nevents]))
			work->event = batch.nevents++;
	}
	batch.independent = !round->waits;
	batch.refusals_are_outcomes = !raises;
	round->is_refused = false;
	if (batch.nevents > 0)
		pointstore_append(&batch);
	for (i = 0; i < round->n; i++)
	{
		StepWork   *work = round->work[i];

		settle(round, work, work->event < 0 ? NULL : &batch.proposals[work->event], work->event < 0 ? NULL : &batch.decisions[work->event]);
	}
	pointstore_write_parts(round->origin, round->work, round->n);
	return !round->is_refused;
}

/* What a message has come to, by what has become of its event where it has one. */
static void
settle(Round *round, StepWork *work, const ProposedEvent *event, const Decision *decision)
{
	StepMessage *message = work->message;

	if (work->rule == NULL || work->rule->act == ACT_NOTHING)
		return;					/* it is answered */
	work->is_done = event == NULL || decision->outcome == OUTCOME_APPENDED || pointstore_has_nothing_left(event, decision);
	if (work->is_done)
	{
		message->answer = work->rule->answer;
		work->event_id = event == NULL || decision->outcome != OUTCOME_APPENDED ? 0 : decision->id;
		message->event_id = work->event_id != 0 ? work->event_id : work->row.event_id;
	}
	else if (decision->outcome == OUTCOME_BUSY)
		message->answer = ANSWER_BUSY;
	else
	{
		round->is_refused = round->waits;
		refuse(work, event, decision);
	}
	/* of a batch whose events stand or fall together that is done */
	if (event != NULL && !round->waits && decision->outcome <= OUTCOME_LAST_REFUSAL)
		pointstore_count_decision(decision);
}

/* The answer to what the rules have refused, with the error that it would be. */
static void
refuse(StepWork *work, const ProposedEvent *event, const Decision *decision)
{
	MemoryContext context = CurrentMemoryContext;
	ErrorData  *volatile error = NULL;

	/* nothing is done in here but to put the error together */
	PG_TRY();
	{
		pointstore_raise(event, decision);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	answer_error(work, error);
}

/* The answer where something has failed. */
static void
answer_error(StepWork *work, const ErrorData *error)
{
	StepMessage *message = work->message;

	message->event_id = 0;
	message->sqlerrcode = error->sqlerrcode;
	message->error = error->message;
	message->answer = is_passing(error->sqlerrcode) ? ANSWER_BUSY : message->verb == VERB_TRY ? ANSWER_REFUSED : ANSWER_FAILED;
}

/* Whether an error says nothing of the message itself, but of what else goes on. */
static bool
is_passing(int sqlerrcode)
{
	int			category = ERRCODE_TO_CATEGORY(sqlerrcode);

	return category == ERRCODE_TRANSACTION_ROLLBACK || category == ERRCODE_INSUFFICIENT_RESOURCES ||
		category == ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE || category == ERRCODE_OPERATOR_INTERVENTION ||
		category == ERRCODE_SYSTEM_ERROR || category == ERRCODE_CONNECTION_EXCEPTION;
}

/* What the accounts of steps that have been tried count. */
static void
tell_units(Round *round)
{
	int			i;

	for (i = 0; i < round->n; i++)
	{
		StepMessage *message = round->work[i]->message;

		if (message->verb == VERB_TRY &&
			(message->answer == ANSWER_TRIED || message->answer == ANSWER_DONE || message->answer == ANSWER_CONFIRMED))
			tell_unit(message, round->work[i]->is_done ? message->aggregate_id : round->work[i]->row.aggregate_id);
	}
}

/* That of a step whose transaction is prepared, and answers nothing, too; its account may be opened by it. */
static void
tell_unit(StepMessage *message, text *id)
{
	Snapshot	snapshot;
	Account		account;
	const Kind *kind;

	if (id == NULL)
		return;
	snapshot = pointstore_push_snapshot();
	pointstore_read_account(&account, id, snapshot, LOCK_NOTHING);
	kind = account.kind != NULL ? account.kind :
		pointstore_read_kind(message->kind != NULL ? message->kind : cstring_to_text("default"));
	if (kind != NULL)
		message->unit = pointstore_cstring(kind->unit);
	pointstore_release_account(&account);
	PopActiveSnapshot();
}
