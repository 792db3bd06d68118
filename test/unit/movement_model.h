/*
 * test/unit/movement_model.h
 *		One movement, its coordinator and its participants, as states and what may happen in
 *		each of them. What is decided is decided by nodes/protocol.c, included before.
 *
 * A state is all that is kept anywhere: the movement's row and its steps, the participants'
 * rows and what they have done to their accounts, what is on its way, and what has happened
 * that excuses a stuck movement. A message once sent may arrive at any time, as often as it
 * likes, or never: it is a bit that stays set (sent). So nothing has to be said about
 * messages lost, late or repeated. An answer is in its participant's slot: it arrives, is
 * overwritten by a later one, or lost. A crash between two durable writes is a crash of the
 * coordinator in the state between them.
 *
 * A step can be the coordinator's own: it is asked and answers in the coordinator's
 * transactions. What a movement does to the account of a step is counted as 1, once.
 */
#define MOST_STEPS 4
#define NOT_STARTED N_PHASES	/* as a phase: no row of the movement */
#define NOBODY 0xFF

/* What is broken in a run; the number in front is the rule's of the protocols. */
typedef enum Broken
{
	NOTHING_BROKEN,
	BROKEN_CANCEL_KNOWN_ONLY,	/* 1 */
	BROKEN_NO_TOMBSTONE,
	BROKEN_FINISHED_EARLY,
	BROKEN_SEND_UNFLUSHED,		/* 2 */
	BROKEN_DECISION_UNFLUSHED,
	BROKEN_ANSWER_UNFLUSHED,
	BROKEN_END_UNFLUSHED,
	BROKEN_REPLAY_UNFLUSHED,
	BROKEN_RESTART_UNFLUSHED,
	BROKEN_BELOW_UNFLUSHED,
	BROKEN_PHASE_UNCONDITIONAL, /* 3 */
	BROKEN_CONFIRM_JUDGED,		/* 4 */
	BROKEN_UNDO_JUDGED,
	BROKEN_FORGETS_ID,			/* 5 */
	BROKEN_DROPS_TOMBSTONES,
	BROKEN_TAKES_BELOW,
	BROKEN_BELOW_UNFINISHED,
	BROKEN_DROPS_CONFIRMED,
	BROKEN_KEY_WITHOUT_ORIGIN,	/* 6 */
	BROKEN_WRITER_RELEASES,		/* 7 */
	BROKEN_CONTRADICTION_SETTLES,
	BROKEN_RESOLVE_CONFIRM,		/* 8 */
	BROKEN_RESOLVE_CANCEL,
	BROKEN_TRUSTS_TRIES,		/* 9 */
	BROKEN_NO_FENCE,
	BROKEN_DECIDES_UNASKED,
	BROKEN_OWN_CANCELLED_FIRST,
	BROKEN_NO_REOPENING,		/* 10 */
	BROKEN_ABORT_BESIDE_PREPARING,	/* 11 */
	BROKEN_RETRY_ROLLS_BACK,
	BROKEN_GONE_IS_COMMITTED,
	BROKEN_PARTICIPANT_AGE_LIMIT,
	BROKEN_CANCEL_BEFORE_START, /* 12 */
	BROKEN_CANCEL_DECIDED,
	BROKEN_CLOCK_RELEASES		/* section 14: reservations end by decisions alone */
} Broken;

/* A run: who takes part, what may happen, what is broken. */
typedef struct Setup
{
	const char *name;
	MovementProtocol protocol;
	int			nsteps;
	int			own;			/* which step is the coordinator's own, from 1; 0: none */
	bool		operators;		/* at participants */
	bool		coordinator_restored;
	bool		participant_restored;
	bool		unflushed;		/* a write is seen before it is durable */
	bool		split;			/* the next phase is read and written in two steps, and cancelled between them */
	bool		constraints;	/* of users: refuse confirms and undos */
	bool		gone;			/* foreign servers are dropped */
	bool		closes;			/* participants hear what is finished */
	Broken		broken;
} Setup;

/* Why a movement may be stuck. */
#define CAUSE_OPERATOR 1
#define CAUSE_PARTICIPANT_RESTORED 2
#define CAUSE_COORDINATOR_RESTORED 4
#define CAUSE_CONSTRAINT 8
#define CAUSE_GONE 16

/* What has happened, for ever. */
#define MARK_RESTORED 1
#define MARK_TOLD_CANCELLED 2	/* a cancel before the start was acknowledged */
#define MARK_STALE 4			/* a participant was restored: its answers have another timeline or position */
#define MARK_SAVED 8			/* the one backup has been taken */

#define DECIDED_CONFIRM 1
#define DECIDED_CANCEL 2

/* of a prepared transaction */
#define NOT_PREPARED 0
#define PREPARING 1
#define PREPARED 2

typedef struct Coordinator
{
	uint8		phase;
	uint8		gives_up;
	uint8		decided;
	uint8		incarnation;	/* of the store, when the movement began */
	uint8		status[MOST_STEPS];
} Coordinator;

typedef struct Participant
{
	uint8		row;
	uint8		prepared;
	int8		reserved;
	int8		applied;
	uint8		incarnation;	/* of the origin, the newest heard of */
} Participant;

/* Compared and hashed as bytes, so far as the setup uses it (state_size()). */
typedef struct State
{
	Coordinator coordinator;
	Participant part[MOST_STEPS];
	uint8		sent[MOST_STEPS];	/* a bit for each verb and incarnation */
	uint8		slot[MOST_STEPS];	/* an answer + 1 */
	uint8		incarnation;	/* of the coordinator's store */
	uint8		cause;
	uint8		marks;
	uint8		planned;		/* split: the next phase, + 1 */
	uint8		planned_from;
	uint8		saved_store;	/* whose backup there is; MOST_STEPS: the coordinator's */
	Coordinator saved_coordinator;
	Participant saved_part;
	uint8		unflushed;		/* a bit for each store */
	Coordinator disk_coordinator;
	Participant disk_part[MOST_STEPS];
} State;

#define COORDINATOR MOST_STEPS

/* What happens: a kind, a participant, and a choice or verb. */
typedef enum Event
{
	EVENT_NONE,
	EVENT_START, EVENT_START_REFUSED, EVENT_CANCEL, EVENT_CANCEL_FIRST, EVENT_DEADLINE, EVENT_DELIVER, EVENT_DELIVER_REFUSED,
	EVENT_DELIVER_ANSWER_LOST, EVENT_ROLLED_BACK_ONLY, EVENT_PREPARED, EVENT_PREPARING_DIED, EVENT_ANSWER, EVENT_OWN,
	EVENT_OWN_REFUSED, EVENT_CRASH, EVENT_OPERATOR_CONFIRMS, EVENT_OPERATOR_CANCELS, EVENT_RESOLVE, EVENT_BACKUP, EVENT_RESTORE,
	EVENT_GONE, EVENT_BELOW, EVENT_PLAN, EVENT_WRITE, EVENT_FLUSH, EVENT_LOSE, EVENT_BREAKING
} Event;

static const char *const event_names[] = {
	"nothing", "start", "start, refused", "cancel", "cancel before start", "deadline", "delivered", "delivered, refused",
	"delivered, answer lost", "rolled back, then lost", "prepared", "preparing backend died", "answer taken", "own step",
	"own step, refused", "coordinator restarts", "operator confirms", "operator cancels", "operator resolves", "backup", "restored",
	"server dropped", "told what is finished", "next phase read", "next phase written", "flushed", "crash loses what is not flushed",
	"what is broken happens"
};

/* The walk that sees the states. */
typedef struct Walk
{
	const Setup *setup;
	const char *fault;			/* what was found to be wrong */
	void		(*visit) (struct Walk *walk, const State *state, Event event, int participant, int detail);
	void	   *explorer;
} Walk;

static void step_into(Walk *walk, State *state, Event event, int participant, int detail);
static int	handle(Walk *walk, State *state, int p, MovementVerb verb, bool refuses);
static void changed(Walk *walk, State *state);
static void advance(Walk *walk, State *state);
static void send_due(Walk *walk, State *state);
static void enter_phase(Walk *walk, State *state, MovementPhase phase);

#define SENT(verb, incarnation) (1 << ((verb) - 1 + 3 * (incarnation)))
#define FAULT_IF(condition, text) do { if ((condition) && walk->fault == NULL) walk->fault = (text); } while (0)

static bool
breaks(const Walk *walk, Broken what)
{
	return walk->setup->broken == what;
}

static bool
is_own(const Walk *walk, int p)
{
	return walk->setup->own == p + 1;
}

/* The bytes of a state that are used. */
static size_t
state_size(const Setup *setup)
{
	return setup->unflushed ? sizeof(State) : offsetof(State, unflushed);
}

/* The movement as the protocol's functions see it; *local is of the caller's. */
static MovementView
view_of(const Walk *walk, const State *state, StepStatus *status, bool *local)
{
	MovementView view = {
		.protocol = walk->setup->protocol, .phase = state->coordinator.phase, .gives_up = state->coordinator.gives_up,
		.nsteps = walk->setup->nsteps, .status = status, .local = local,
		.asks_all = state->coordinator.incarnation < state->incarnation && !breaks(walk, BROKEN_DECIDES_UNASKED)
	};

	for (int i = 0; i < view.nsteps; i++)
	{
		status[i] = state->coordinator.status[i];
		local[i] = is_own(walk, i) && !breaks(walk, BROKEN_OWN_CANCELLED_FIRST);
	}
	return view;
}

static MovementVerb
due_of(const Walk *walk, const State *state, int p)
{
	StepStatus	status[MOST_STEPS];
	bool		local[MOST_STEPS];
	MovementView view;

	if (state->coordinator.phase == NOT_STARTED)
		return VERB_NONE;
	view = view_of(walk, state, status, local);
	return pointstore_next_message(&view, p);
}

static bool
is_finished(const Walk *walk, const State *state)
{
	StepStatus	status[MOST_STEPS];
	bool		local[MOST_STEPS];
	MovementView view;

	if (state->coordinator.phase == NOT_STARTED)
		return false;
	view = view_of(walk, state, status, local);
	if (breaks(walk, BROKEN_BELOW_UNFINISHED))
		return true;
	return pointstore_is_finished(&view);
}

/* How a participant acts on the account of a step, and its row; returns the answer. */
static MovementAnswer
apply_rule(Walk *walk, Participant *part, const ParticipantRule *rule)
{
	switch (rule->act)
	{
		case ACT_NOTHING:
			break;
		case ACT_RESERVE:
			if (walk->setup->protocol == PROTOCOL_SAGA)
				part->applied++;
			else
				part->reserved++;
			break;
		case ACT_APPLY:
			part->reserved--;
			part->applied++;
			break;
		case ACT_RELEASE:
			part->reserved--;
			break;
		case ACT_UNDO:
			part->applied--;
			break;
		case ACT_KEEP:
			break;
		case ACT_TOMBSTONE:
			if (breaks(walk, BROKEN_NO_TOMBSTONE))
				return rule->answer;
			break;
	}
	part->row = rule->becomes;
	return rule->answer;
}

/* What COMMIT PREPARED, ROLLBACK PREPARED and PREPARE TRANSACTION do at a participant; -1: no answer. */
static int
handle_prepared(Walk *walk, Participant *part, MovementVerb verb, bool refuses)
{
	if (part->prepared == PREPARING)
	{
		if (verb == VERB_CONFIRM)
			return ANSWER_MISSING;
		return verb == VERB_CANCEL && breaks(walk, BROKEN_ABORT_BESIDE_PREPARING) ? ANSWER_CANCELLED : -1;
	}
	if (part->prepared == PREPARED && verb == VERB_TRY && breaks(walk, BROKEN_RETRY_ROLLS_BACK))
	{
		part->prepared = PREPARING;
		return -1;
	}
	if (part->prepared == PREPARED && verb == VERB_TRY)
		return ANSWER_TRIED;
	if (part->prepared == PREPARED)
	{
		part->prepared = NOT_PREPARED;
		if (verb == VERB_CONFIRM)
		{
			part->row = PART_CONFIRMED;
			part->applied++;
			return ANSWER_CONFIRMED;
		}
		if (refuses)			/* between ROLLBACK PREPARED and the tombstone */
			return -1;
		return apply_rule(walk, part, pointstore_participant_rule(PROTOCOL_2PC, part->row, VERB_CANCEL));
	}
	/* the try of a row that is not there */
	if (refuses)
		return ANSWER_REFUSED;
	part->prepared = PREPARING;
	return -1;
}

/* A saga's steps are done in order, and undone in reverse, unless somebody else has a hand in it. */
static void
check_order(Walk *walk, const State *state, int p, ParticipantAct act)
{
	if (walk->setup->protocol != PROTOCOL_SAGA || state->cause != 0 || state->marks & MARK_RESTORED || walk->setup->broken != NOTHING_BROKEN)
		return;
	for (int i = 0; i < walk->setup->nsteps; i++)
	{
		FAULT_IF(act == ACT_RESERVE && i < p && state->part[i].row != PART_DONE, "a step is done before an earlier one");
		FAULT_IF(act == ACT_UNDO && i > p && state->part[i].row != PART_CANCELLED, "a step is undone before a later one");
	}
}

/* What a participant does about a message; returns its answer, -1 where it waits. */
static int
handle(Walk *walk, State *state, int p, MovementVerb verb, bool refuses)
{
	Participant *part = &state->part[p];
	MovementProtocol protocol = walk->setup->protocol;
	const ParticipantRule *rule;

	if (protocol == PROTOCOL_2PC && is_own(walk, p))
		protocol = PROTOCOL_TCC;
	if (protocol == PROTOCOL_2PC && (part->prepared != NOT_PREPARED || (part->row == PART_NONE && verb == VERB_TRY)))
		return handle_prepared(walk, part, verb, refuses);
	rule = pointstore_participant_rule(protocol, part->row, verb);
	check_order(walk, state, p, rule->act);
	if (refuses && rule->act == ACT_RESERVE)
		return ANSWER_REFUSED;
	if (refuses)
	{
		if (walk->setup->constraints)
			state->cause |= CAUSE_CONSTRAINT;
		return ANSWER_FAILED;
	}
	if (protocol == PROTOCOL_2PC && rule->answer == ANSWER_MISSING && breaks(walk, BROKEN_GONE_IS_COMMITTED))
		return ANSWER_CONFIRMED;
	return apply_rule(walk, part, rule);
}

/* Whether the participant can refuse: a try always, the rest where a user's constraint, or a broken rule, has it so. */
static bool
can_refuse(Walk *walk, const State *state, int p, MovementVerb verb)
{
	const Participant *part = &state->part[p];
	const ParticipantRule *rule = pointstore_participant_rule(walk->setup->protocol, part->row, verb);

	if (part->prepared != NOT_PREPARED)
		return false;
	switch (rule->act)
	{
		case ACT_RESERVE:
			return true;
		case ACT_APPLY:
			return walk->setup->constraints || breaks(walk, BROKEN_CONFIRM_JUDGED);
		case ACT_UNDO:
			return walk->setup->constraints || breaks(walk, BROKEN_UNDO_JUDGED);
		case ACT_RELEASE:
		case ACT_KEEP:
			return walk->setup->constraints;
		default:
			return false;
	}
}

/* An answer that is not true is wrong at once. */
static void
check_answer(Walk *walk, const Participant *part, int answer)
{
	bool		reserved = part->reserved > 0 || part->prepared == PREPARED;

	FAULT_IF(answer == ANSWER_CONFIRMED && (part->row != PART_CONFIRMED || part->applied != 1), "confirmed is answered, and nothing was applied");
	FAULT_IF(answer == ANSWER_CANCELLED && (reserved || part->prepared || part->applied != 0), "cancelled is answered, and something is left");
	FAULT_IF(answer == ANSWER_TRIED && !reserved, "tried is answered, and nothing is reserved");
	FAULT_IF(answer == ANSWER_DONE && part->applied != 1, "done is answered, and nothing was applied");
}

/* What a store has written is durable; what is not prepared yet goes with its backend. */
static void
flush(Walk *walk, State *state, int store)
{
	if (!(state->unflushed & (1 << store)))
		return;
	state->unflushed &= ~(1 << store);
	if (store == COORDINATOR)
	{
		state->disk_coordinator = state->coordinator;
		store = walk->setup->own - 1;
	}
	if (store < 0)
		return;
	state->disk_part[store] = state->part[store];
	if (state->disk_part[store].prepared == PREPARING)
		state->disk_part[store].prepared = NOT_PREPARED;
}

/* A message arrives. An old incarnation's is not heard, but for what the server itself does: COMMIT and ROLLBACK PREPARED. */
static void
deliver(Walk *walk, const State *from, int p, int bit, Event event)
{
	MovementVerb verb = bit % 3 + 1;
	int			incarnation = bit / 3;
	bool		is_fenced = walk->setup->protocol != PROTOCOL_2PC || verb == VERB_TRY;
	State		state = *from;
	int			answer;
	bool		wrote;

	if (incarnation < state.part[p].incarnation && is_fenced && !breaks(walk, BROKEN_NO_FENCE))
		return;
	state.part[p].incarnation = Max(state.part[p].incarnation, incarnation);
	answer = handle(walk, &state, p, verb, event == EVENT_DELIVER_REFUSED || event == EVENT_ROLLED_BACK_ONLY);
	wrote = memcmp(&state.part[p], &from->part[p], sizeof(Participant)) != 0;
	if (wrote)
		state.unflushed |= walk->setup->unflushed ? 1 << p : 0;
	if (answer < 0 || incarnation < state.incarnation || event == EVENT_DELIVER_ANSWER_LOST)
	{
		step_into(walk, &state, event, p, verb);
		return;
	}
	if (!breaks(walk, BROKEN_ANSWER_UNFLUSHED) && !(breaks(walk, BROKEN_END_UNFLUSHED) && verb != VERB_TRY) &&
		(wrote || !breaks(walk, BROKEN_REPLAY_UNFLUSHED)))
		flush(walk, &state, p);
	check_answer(walk, &state.part[p], answer);
	state.slot[p] = answer + 1;
	step_into(walk, &state, event, p, verb);
}

/* What was asked is answered: the coordinator's transaction. */
static void
take_answer(Walk *walk, State *state, int p, MovementAnswer answer)
{
	Coordinator *coordinator = &state->coordinator;
	StepStatus	status = pointstore_step_after(walk->setup->protocol, coordinator->phase, coordinator->status[p], answer);

	if (breaks(walk, BROKEN_CONTRADICTION_SETTLES) && coordinator->phase == PHASE_CONFIRMING && status == STEP_CANCELLED)
		status = STEP_CONFIRMED;
	if (breaks(walk, BROKEN_CONTRADICTION_SETTLES) && coordinator->phase == PHASE_CANCELLING && status == STEP_CONFIRMED)
		status = STEP_CANCELLED;
	if (breaks(walk, BROKEN_CONTRADICTION_SETTLES) && coordinator->phase == PHASE_DONE && status == STEP_UNDONE)
		status = STEP_CONFIRMED;
	coordinator->status[p] = status;
	for (int i = 0; i < walk->setup->nsteps && is_undone(status) && breaks(walk, BROKEN_FINISHED_EARLY); i++)
		coordinator->status[i] = status;
	changed(walk, state);
}

/* The coordinator's store has changed: its rows are flushed before what rests on them leaves. */
static void
changed(Walk *walk, State *state)
{
	if (!walk->setup->split)
		advance(walk, state);
	if (walk->setup->unflushed)
		state->unflushed |= 1 << COORDINATOR;
	if (!walk->setup->unflushed || breaks(walk, BROKEN_SEND_UNFLUSHED) ||
		(breaks(walk, BROKEN_DECISION_UNFLUSHED) && state->coordinator.decided))
		send_due(walk, state);
}

/* The phase follows from the steps. */
static void
advance(Walk *walk, State *state)
{
	for (;;)
	{
		StepStatus	status[MOST_STEPS];
		bool		local[MOST_STEPS];
		MovementView view;
		MovementPhase next;

		if (state->coordinator.phase == NOT_STARTED)
			return;
		view = view_of(walk, state, status, local);
		next = pointstore_next_phase(&view);
		if (next == view.phase)
			return;
		enter_phase(walk, state, next);
	}
}

static bool
any_below(Walk *walk, const State *state)
{
	for (int i = 0; i < walk->setup->nsteps; i++)
	{
		if (state->part[i].row == PART_BELOW)
			return true;
	}
	return false;
}

static void
enter_phase(Walk *walk, State *state, MovementPhase phase)
{
	Coordinator *coordinator = &state->coordinator;
	bool		undecided = is_undecided(coordinator->phase);

	coordinator->phase = phase;
	FAULT_IF(undecided && coordinator->gives_up && (phase == PHASE_CONFIRMING || phase == PHASE_DONE), "confirm was decided after the deadline");
	if (phase == PHASE_CONFIRMING || phase == PHASE_DONE)
	{
		/* what is decided the first time can be carried out */
		for (int i = 0; coordinator->decided == 0 && i < walk->setup->nsteps; i++)
			FAULT_IF(state->part[i].row == PART_NONE && state->part[i].prepared != PREPARED && !(state->marks & MARK_RESTORED) &&
					 !(walk->setup->protocol == PROTOCOL_2PC && state->cause & CAUSE_OPERATOR),
					 "confirm was decided with a step that was not tried");
		coordinator->decided |= DECIDED_CONFIRM;
	}
	if (phase == PHASE_CANCELLING || phase == PHASE_UNDOING)
		coordinator->decided |= DECIDED_CANCEL;
	/*
	 * A restored coordinator that has asked all, and so fenced its former self, is contradicted by nobody: but see
	 * deliver(). What its former self had finished it cannot know.
	 */
	if (undecided && phase != PHASE_STUCK && coordinator->incarnation < state->incarnation && walk->setup->protocol != PROTOCOL_2PC &&
		!any_below(walk, state))
		state->cause &= ~CAUSE_COORDINATOR_RESTORED;
	for (int i = 0; breaks(walk, BROKEN_CANCEL_KNOWN_ONLY) && i < walk->setup->nsteps; i++)
	{
		if ((phase == PHASE_CANCELLING || phase == PHASE_UNDOING) &&
			(coordinator->status[i] == STEP_PENDING || coordinator->status[i] == STEP_REFUSED))
			coordinator->status[i] = phase == PHASE_UNDOING ? STEP_UNDONE : STEP_CANCELLED;
	}
}

/* Sent is what may arrive from now on. */
static void
send_due(Walk *walk, State *state)
{
	for (int i = 0; i < walk->setup->nsteps; i++)
	{
		MovementVerb verb = due_of(walk, state, i);

		if (verb != VERB_NONE && !is_own(walk, i))
			state->sent[i] |= SENT(verb, state->incarnation);
	}
}

/* The coordinator begins with what its tables say. */
static void
restart(Walk *walk, State *state)
{
	Coordinator *coordinator = &state->coordinator;

	memset(state->slot, 0, sizeof(state->slot));
	state->planned = state->planned_from = 0;
	if (coordinator->phase == NOT_STARTED)
		return;
	for (int i = 0; i < walk->setup->nsteps && !breaks(walk, BROKEN_TRUSTS_TRIES); i++)
		coordinator->status[i] = pointstore_step_after_restart(coordinator->phase, coordinator->status[i], is_own(walk, i));
	/* what a participant has lost until then is tried again */
	if (is_undecided(coordinator->phase))
		state->cause &= ~CAUSE_PARTICIPANT_RESTORED;
	if (!(state->unflushed & (1 << COORDINATOR)) || breaks(walk, BROKEN_RESTART_UNFLUSHED))
		send_due(walk, state);
}

/* An operator's word on a stuck movement. */
static void
resolve(Walk *walk, State *state, Resolution decision)
{
	Coordinator *coordinator = &state->coordinator;

	for (int i = 0; i < walk->setup->nsteps; i++)
		coordinator->status[i] = pointstore_step_resolved(walk->setup->protocol, decision, coordinator->status[i]);
	memset(state->slot, 0, sizeof(state->slot));
	if (decision == RESOLVE_CONFIRM)
		coordinator->gives_up = false;
	enter_phase(walk, state, pointstore_resolved_phase(walk->setup->protocol, decision));
	changed(walk, state);
}

static bool
may_resolve(const Walk *walk, const State *state, Resolution decision)
{
	StepStatus	status[MOST_STEPS];
	bool		local[MOST_STEPS];
	MovementView view = view_of(walk, state, status, local);

	if (view.phase == PHASE_STUCK && ((decision == RESOLVE_CONFIRM && breaks(walk, BROKEN_RESOLVE_CONFIRM)) ||
									  (decision == RESOLVE_CANCEL && breaks(walk, BROKEN_RESOLVE_CANCEL))))
		return true;
	return pointstore_may_resolve(&view, state->coordinator.decided & DECIDED_CONFIRM, state->coordinator.decided & DECIDED_CANCEL, decision);
}
