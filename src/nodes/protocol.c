/*-------------------------------------------------------------------------
 *
 * src/nodes/protocol.c
 *		What follows what in a movement, at its coordinator and at its participants.
 *
 * Everything here is a function of its arguments: it reads no table, no setting and no
 * clock, and locks nothing. So test/unit/protocol.c can walk through all that may happen
 * to a movement with these same functions: messages lost, late and repeated, crashes,
 * operators, restores.
 *
 * A phase has something to ask of a step or not (asks[]). What it asks may have to wait for
 * other steps (is_waiting()): a saga does its steps in order and undoes them in reverse, and
 * the coordinator's own step is cancelled only when all others are, so that what is found
 * confirmed away can still be paid for. A phase ends when nothing is left to ask:
 * by what the steps then are. So a decision is carried out wherever it can be before a step
 * that contradicts it makes the movement stuck: no reservation stays behind unasked.
 *
 * An answer changes a step only where it can be one to what is asked of the step now. What
 * comes late, or twice, changes nothing, or says what would have been said anyway.
 *
 * Cancel goes to every step, also to those that refused, and to those never sent: where
 * nothing was applied it leaves a tombstone, that a late try then meets.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/protocol.h"

static MovementPhase outcome(const MovementView *movement);
static bool is_any_due(const MovementView *movement, MovementVerb verb);
static bool is_waiting(const MovementView *movement, int step);
static bool is_open(StepStatus status);
static bool has_ended(StepStatus status);
static bool is_confirmed(StepStatus status);
static bool is_undecided(MovementPhase phase);
static bool is_known_applied(StepStatus status);
static bool has_any(const MovementView *movement, bool (*is_so) (StepStatus status));
static bool is_refused(StepStatus status);
static bool is_contradiction(StepStatus status);
static bool is_against_confirm(StepStatus status);
static bool is_against_cancel(StepStatus status);
static bool is_undone(StepStatus status);
static bool is_not_applied(StepStatus status);

const char *const pointstore_protocol_names[] = {"tcc", "saga", "2pc"};
const char *const pointstore_phase_names[] = {
	"trying", "confirming", "confirmed", "cancelling", "cancelled", "doing", "done", "undoing", "undone", "stuck", "accepted"
};
const char *const pointstore_step_names[] = {
	"pending", "tried", "refused", "done", "confirmed", "cancelled", "undone", "missing", "failed"
};
const char *const pointstore_verb_names[] = {"none", "try", "confirm", "cancel"};
const char *const pointstore_answer_names[] = {
	"tried", "done", "refused", "confirmed", "cancelled", "missing", "closed", "failed", "busy"
};
const char *const pointstore_part_names[] = {"none", "tried", "done", "confirmed", "cancelled", "below"};

/* By the row and the verb, try's and the protocol's own first act apart. */
static const ParticipantRule rules[N_PART_STATUSES][VERB_CANCEL + 1] = {
	[PART_NONE] = {
		[VERB_CONFIRM] = {ACT_NOTHING, ANSWER_MISSING, PART_NONE},
		[VERB_CANCEL] = {ACT_TOMBSTONE, ANSWER_CANCELLED, PART_CANCELLED}
	},
	[PART_TRIED] = {
		[VERB_TRY] = {ACT_NOTHING, ANSWER_TRIED, PART_TRIED},
		[VERB_CONFIRM] = {ACT_APPLY, ANSWER_CONFIRMED, PART_CONFIRMED},
		[VERB_CANCEL] = {ACT_RELEASE, ANSWER_CANCELLED, PART_CANCELLED}
	},
	[PART_DONE] = {
		[VERB_TRY] = {ACT_NOTHING, ANSWER_DONE, PART_DONE},
		[VERB_CONFIRM] = {ACT_KEEP, ANSWER_CONFIRMED, PART_CONFIRMED},
		[VERB_CANCEL] = {ACT_UNDO, ANSWER_CANCELLED, PART_CANCELLED}
	},
	[PART_CONFIRMED] = {
		[VERB_TRY] = {ACT_NOTHING, ANSWER_CONFIRMED, PART_CONFIRMED},
		[VERB_CONFIRM] = {ACT_NOTHING, ANSWER_CONFIRMED, PART_CONFIRMED},
		[VERB_CANCEL] = {ACT_NOTHING, ANSWER_CONFIRMED, PART_CONFIRMED}
	},
	[PART_CANCELLED] = {
		[VERB_TRY] = {ACT_NOTHING, ANSWER_REFUSED, PART_CANCELLED},
		[VERB_CONFIRM] = {ACT_NOTHING, ANSWER_CANCELLED, PART_CANCELLED},
		[VERB_CANCEL] = {ACT_NOTHING, ANSWER_CANCELLED, PART_CANCELLED}
	},
	[PART_BELOW] = {
		[VERB_TRY] = {ACT_NOTHING, ANSWER_REFUSED, PART_BELOW},
		[VERB_CONFIRM] = {ACT_NOTHING, ANSWER_CLOSED, PART_BELOW},
		[VERB_CANCEL] = {ACT_NOTHING, ANSWER_CLOSED, PART_BELOW}
	}
};

/* The first try of a step, if it is not refused. A prepared transaction shows the row that it commits. */
static const ParticipantRule first_try[N_PROTOCOLS] = {
	[PROTOCOL_TCC] = {ACT_RESERVE, ANSWER_TRIED, PART_TRIED},
	[PROTOCOL_SAGA] = {ACT_RESERVE, ANSWER_DONE, PART_DONE},
	[PROTOCOL_2PC] = {ACT_RESERVE, ANSWER_TRIED, PART_CONFIRMED}
};

/* What a phase asks of a step, of whatever it may have to wait for others. */
static const MovementVerb asks[N_PHASES][N_STEP_STATUSES] = {
	[PHASE_TRYING] = {[STEP_PENDING] = VERB_TRY},
	[PHASE_DOING] = {[STEP_PENDING] = VERB_TRY},
	/* a lost step is tried again where an operator has said confirm */
	[PHASE_CONFIRMING] = {[STEP_PENDING] = VERB_TRY, [STEP_TRIED] = VERB_CONFIRM, [STEP_DONE] = VERB_CONFIRM},
	[PHASE_DONE] = {[STEP_PENDING] = VERB_TRY, [STEP_TRIED] = VERB_CONFIRM, [STEP_DONE] = VERB_CONFIRM},
	[PHASE_CANCELLING] = {
		[STEP_PENDING] = VERB_CANCEL, [STEP_TRIED] = VERB_CANCEL, [STEP_REFUSED] = VERB_CANCEL, [STEP_DONE] = VERB_CANCEL
	},
	[PHASE_UNDOING] = {
		[STEP_PENDING] = VERB_CANCEL, [STEP_TRIED] = VERB_CANCEL, [STEP_REFUSED] = VERB_CANCEL, [STEP_DONE] = VERB_CANCEL
	},
	/* as it is: what is reserved is given back, what is done is kept */
	[PHASE_ACCEPTED] = {
		[STEP_PENDING] = VERB_CANCEL, [STEP_TRIED] = VERB_CANCEL, [STEP_REFUSED] = VERB_CANCEL, [STEP_DONE] = VERB_CONFIRM
	}
};

/* What a step is after the answer to what was asked of it; STEP_PENDING: what it was. */
static const StepStatus after[VERB_CANCEL + 1][N_ANSWERS] = {
	/* where nothing was applied, and nothing is there, the others are cancelled */
	[VERB_TRY] = {
		[ANSWER_TRIED] = STEP_TRIED, [ANSWER_DONE] = STEP_DONE, [ANSWER_REFUSED] = STEP_REFUSED, [ANSWER_FAILED] = STEP_REFUSED,
		[ANSWER_CONFIRMED] = STEP_CONFIRMED, [ANSWER_CANCELLED] = STEP_REFUSED, [ANSWER_MISSING] = STEP_MISSING,
		[ANSWER_CLOSED] = STEP_MISSING
	},
	[VERB_CONFIRM] = {
		[ANSWER_CONFIRMED] = STEP_CONFIRMED, [ANSWER_CANCELLED] = STEP_CANCELLED, [ANSWER_MISSING] = STEP_MISSING,
		[ANSWER_CLOSED] = STEP_MISSING, [ANSWER_FAILED] = STEP_FAILED
	},
	/* missing can only be a late answer to a confirm */
	[VERB_CANCEL] = {
		[ANSWER_CANCELLED] = STEP_CANCELLED, [ANSWER_CONFIRMED] = STEP_CONFIRMED, [ANSWER_CLOSED] = STEP_MISSING,
		[ANSWER_FAILED] = STEP_FAILED
	}
};

/*
 * What a participant does about a message, by its row of the step. Try, where there is no
 * row, may be refused instead: then nothing is written, and the answer is refused. The
 * coordinator's own steps of 2pc go by PROTOCOL_TCC.
 */
const ParticipantRule *
pointstore_participant_rule(MovementProtocol protocol, PartStatus row, MovementVerb verb)
{
	Assert(verb != VERB_NONE);
	return row == PART_NONE && verb == VERB_TRY ? &first_try[protocol] : &rules[row][verb];
}

/* What the coordinator knows of a step after an answer; in the transaction that has locked the movement's row. */
StepStatus
pointstore_step_after(MovementProtocol protocol, MovementPhase phase, StepStatus status, MovementAnswer answer)
{
	StepStatus	next = after[asks[phase][status]][answer];

	if (answer == (protocol == PROTOCOL_SAGA ? ANSWER_TRIED : ANSWER_DONE) || next == STEP_PENDING)
		return status;
	return protocol == PROTOCOL_SAGA && next == STEP_CANCELLED ? STEP_UNDONE : next;
}

/* What of a step is still known after a restart of the coordinator: acknowledgements of tries away are not. */
StepStatus
pointstore_step_after_restart(MovementPhase phase, StepStatus status, bool local)
{
	return is_undecided(phase) && !local && (status == STEP_TRIED || status == STEP_DONE) ? STEP_PENDING : status;
}

/* What a step is to the phase that an operator has chosen (pointstore_resolved_phase()). */
StepStatus
pointstore_step_resolved(MovementProtocol protocol, Resolution decision, StepStatus status)
{
	switch (decision)
	{
		case RESOLVE_CONFIRM:
			return status == STEP_MISSING || status == STEP_FAILED || status == STEP_REFUSED ? STEP_PENDING : status;
		case RESOLVE_CANCEL:
			return status == STEP_MISSING || status == STEP_FAILED ? STEP_PENDING : status;
		case RESOLVE_ACCEPT:
			/* a saga's step that could not be undone is kept; a reservation that could not be applied, or was not found, is given back */
			if (status == STEP_FAILED)
				return protocol == PROTOCOL_SAGA ? STEP_DONE : STEP_PENDING;
			return status == STEP_MISSING ? STEP_PENDING : status;
	}
	return status;
}

/* The phase that a movement's row is to have, by what is known of its steps: the same one where it has to wait. */
MovementPhase
pointstore_next_phase(const MovementView *movement)
{
	if (is_undecided(movement->phase))
	{
		bool		saga = movement->phase == PHASE_DOING;
		bool		contradicted = has_any(movement, is_contradiction);
		bool		wants_all = movement->asks_all || (contradicted && !movement->gives_up);

		if (wants_all && is_any_due(movement, VERB_TRY))
			return movement->phase;
		if (contradicted)
			return PHASE_STUCK;
		if (movement->gives_up || has_any(movement, is_refused))
			return saga ? PHASE_UNDOING : PHASE_CANCELLING;
		if (has_any(movement, is_not_applied))
			return movement->phase;
		return saga ? PHASE_DONE : PHASE_CONFIRMING;
	}
	return is_any_due(movement, VERB_NONE) ? movement->phase : outcome(movement);
}

/* Where nothing is left to ask. */
static MovementPhase
outcome(const MovementView *movement)
{
	switch (movement->phase)
	{
		case PHASE_CONFIRMING:
			return has_any(movement, is_against_confirm) ? PHASE_STUCK : PHASE_CONFIRMED;
		case PHASE_DONE:
			return has_any(movement, is_against_confirm) ? PHASE_STUCK : PHASE_DONE;
		case PHASE_CANCELLING:
			return has_any(movement, is_against_cancel) ? PHASE_STUCK : PHASE_CANCELLED;
		case PHASE_UNDOING:
			return has_any(movement, is_against_cancel) ? PHASE_STUCK : PHASE_UNDONE;
		default:
			return movement->phase;
	}
}

/* What is to be asked of a step now, as often as no answer comes; VERB_NONE: nothing. */
MovementVerb
pointstore_next_message(const MovementView *movement, int step)
{
	MovementVerb verb = asks[movement->phase][movement->status[step]];

	return verb != VERB_NONE && is_waiting(movement, step) ? VERB_NONE : verb;
}

/* Whether the movement has an outcome that a caller can be told; a stuck one has none. */
bool
pointstore_is_settled(MovementPhase phase)
{
	switch (phase)
	{
		case PHASE_CONFIRMED:
		case PHASE_CANCELLED:
		case PHASE_DONE:
		case PHASE_UNDONE:
		case PHASE_ACCEPTED:
			return true;
		default:
			return false;
	}
}

/* Whether nothing is left to ask of a settled movement. It is not driven any more, and is below "all finished below". */
bool
pointstore_is_finished(const MovementView *movement)
{
	return pointstore_is_settled(movement->phase) && pointstore_is_settled(pointstore_next_phase(movement)) &&
		!is_any_due(movement, VERB_NONE);
}

/*
 * Whether an operator may say so of a movement. decided_confirm: it has been confirming,
 * or a saga's done, at some time; decided_cancel: cancelling or undoing.
 */
bool
pointstore_may_resolve(const MovementView *movement, bool decided_confirm, bool decided_cancel, Resolution decision)
{
	if (movement->phase != PHASE_STUCK)
		return false;
	switch (decision)
	{
		case RESOLVE_CONFIRM:
			return !decided_cancel && !has_any(movement, is_undone) && (decided_confirm || !has_any(movement, is_not_applied));
		case RESOLVE_CANCEL:
			return !decided_confirm && !has_any(movement, is_confirmed);
		case RESOLVE_ACCEPT:
			return true;
	}
	return false;
}

/* The phase after an operator's word. Steps change by pointstore_step_resolved(). A saga that is confirmed has been done: lost steps are tried again. */
MovementPhase
pointstore_resolved_phase(MovementProtocol protocol, Resolution decision)
{
	bool		saga = protocol == PROTOCOL_SAGA;

	if (decision == RESOLVE_ACCEPT)
		return PHASE_ACCEPTED;
	if (decision == RESOLVE_CONFIRM)
		return saga ? PHASE_DONE : PHASE_CONFIRMING;
	return saga ? PHASE_UNDOING : PHASE_CANCELLING;
}

/* Whether this is to be asked of a step now; VERB_NONE: anything. */
static bool
is_any_due(const MovementView *movement, MovementVerb verb)
{
	for (int i = 0; i < movement->nsteps; i++)
	{
		MovementVerb due = pointstore_next_message(movement, i);

		if (due != VERB_NONE && (verb == VERB_NONE || due == verb))
			return true;
	}
	return false;
}

/* Whether other steps come first. */
static bool
is_waiting(const MovementView *movement, int step)
{
	/* in other phases none waits for another; it is asked for each step whenever one has changed */
	if (movement->phase != PHASE_DOING && movement->phase != PHASE_UNDOING && !(movement->phase == PHASE_CANCELLING && movement->local[step]))
		return false;
	/* a saga's step waits for its neighbour as a rule, so that is looked at first */
	if (movement->phase == PHASE_DOING)
		for (int i = step - 1; i >= 0; i--)
		{
			StepStatus	other = movement->status[i];

			if (other != STEP_DONE && other != STEP_CONFIRMED && !(movement->asks_all && other == STEP_REFUSED))
				return true;
		}
	else if (movement->phase == PHASE_UNDOING)
		for (int i = step + 1; i < movement->nsteps; i++)
		{
			if (is_open(movement->status[i]))
				return true;
		}
	else
		for (int i = 0; i < movement->nsteps; i++)
		{
			if (!movement->local[i] && !is_undone(movement->status[i]))
				return true;
		}
	return false;
}

/* Whether a step has still to be cancelled; what an operator has kept, or is finished there, never will be. */
static bool
is_open(StepStatus status)
{
	return !has_ended(status) && status != STEP_MISSING;
}

static bool
has_ended(StepStatus status)
{
	return status == STEP_CONFIRMED || is_undone(status);
}

static bool
is_confirmed(StepStatus status)
{
	return status == STEP_CONFIRMED;
}

static bool
is_undecided(MovementPhase phase)
{
	return phase == PHASE_TRYING || phase == PHASE_DOING;
}

static bool
has_any(const MovementView *movement, bool (*is_so) (StepStatus status))
{
	for (int i = 0; i < movement->nsteps; i++)
	{
		if (is_so(movement->status[i]))
			return true;
	}
	return false;
}

static bool
is_refused(StepStatus status)
{
	return status == STEP_REFUSED;
}

/* What no step can be while nothing is decided. */
static bool
is_contradiction(StepStatus status)
{
	return has_ended(status) || status == STEP_MISSING || status == STEP_FAILED;
}

static bool
is_against_confirm(StepStatus status)
{
	return status != STEP_CONFIRMED;
}

static bool
is_against_cancel(StepStatus status)
{
	return !is_undone(status);
}

static bool
is_undone(StepStatus status)
{
	return status == STEP_CANCELLED || status == STEP_UNDONE;
}

static bool
is_known_applied(StepStatus status)
{
	return status == STEP_TRIED || status == STEP_DONE || status == STEP_CONFIRMED;
}

static bool
is_not_applied(StepStatus status)
{
	return !is_known_applied(status);
}
