/*-------------------------------------------------------------------------
 *
 * src/append/condition.c
 *		Conditions: what a call rests on without changing it.
 *
 * A condition names an account and the version that it must have. It writes nothing. It is judged
 * on the account as it was before the call, whatever the events of the call make of it, and takes part in
 * the order in which refusals decide: the first element that fails. What a call has written before is a
 * replay, whose conditions held when it was written: they are not judged again.
 *
 * The account's row is locked FOR SHARE, in the one lock order of the batch (accounts.c), or as for an append
 * where the call appends to it too: so it keeps its version until the transaction ends. Where there is no
 * row to lock, of an account that is missing or pure, nothing could be promised.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "account/account.h"
#include "account/history.h"
#include "append/batch.h"
#include "append/condition.h"
#include "append/decide.h"
#include "append/judge.h"

static Outcome judge(const ProposedEvent *check, const Account *account);
static bool is_replay(const Batch *batch);
static void recall(const ProposedEvent *check, Decision *decision);
static BatchEvent *first_failing(const BatchWork *work);

/* Notes whether the conditions hold, before the accounts move on. */
void
pointstore_read_conditions(BatchWork *work)
{
	int			i;

	for (i = 0; i < work->batch->nchecks; i++)
	{
		BatchEvent *check = &work->events[work->batch->nevents + i];

		memset(check->decision, 0, sizeof(Decision));
		check->decision->outcome = judge(check->proposal, check->account);
		pointstore_report_account(check->decision, check->account);
	}
}

/* An account that is missing has version 0. One that the batch has opened is still that to its conditions. */
static Outcome
judge(const ProposedEvent *check, const Account *account)
{
	bool		missing = !account->exists || account->opened;

	if (account->waits)
		return OUTCOME_CHANGE_WAITS;
	if (check->expected_version != account->version)
		return account->pure ? OUTCOME_PURE : OUTCOME_VERSION_CONFLICT;
	return missing ? OUTCOME_MISSING_CHECKED : account->pure ? OUTCOME_PURE : OUTCOME_APPENDED;
}

/* What the conditions come to, after the events were judged: the batch is refused by one, unless an event comes first. */
void
pointstore_judge_conditions(BatchWork *work)
{
	Batch	   *batch = work->batch;
	BatchEvent *failing;
	int			i;

	if (batch->nchecks == 0)
		return;
	if (is_replay(batch))
	{
		for (i = batch->nevents; i < batch->nevents + batch->nchecks; i++)
			recall(&batch->proposals[i], &batch->decisions[i]);
		return;
	}
	failing = first_failing(work);
	if (failing != NULL &&
		(batch->refused == NULL ||
		 batch->proposals[batch->refused - batch->decisions].element > failing->proposal->element))
	{
		batch->refused = failing->decision;
		batch->current = failing->proposal;
	}
}

/* Whether all events of the batch were written before. */
static bool
is_replay(const Batch *batch)
{
	int			i = 0;

	while (i < batch->nevents && batch->decisions[i].outcome == OUTCOME_REPLAYED)
		i++;
	return batch->nevents > 0 && i == batch->nevents;
}

/* The receipt of a condition that has held once: the account as it was in that version. */
static void
recall(const ProposedEvent *check, Decision *decision)
{
	PastEvent	event = {0};
	HistoryScan history;

	memset(decision, 0, sizeof(Decision));
	decision->version = check->expected_version;
	decision->is_recalled = true;
	pointstore_history_begin(&history, check->aggregate_id);
	if (pointstore_history_at_version(&history, check->expected_version, &event))
		decision->balance = event.balance;
	pointstore_history_end(&history);
}

/* The first of the conditions that fail, by their elements; NULL: all hold. */
static BatchEvent *
first_failing(const BatchWork *work)
{
	BatchEvent *first = NULL;
	int			i;

	for (i = 0; i < work->batch->nchecks; i++)
	{
		BatchEvent *check = &work->events[work->batch->nevents + i];

		if (check->decision->outcome != OUTCOME_APPENDED &&
			(first == NULL || check->proposal->element < first->proposal->element))
			first = check;
	}
	return first;
}
