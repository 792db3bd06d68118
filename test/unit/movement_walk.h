/*
 * test/unit/movement_walk.h
 *		What may happen in a state of movement_model.h, what must hold in each, and that
 *		from each an end can be reached.
 */

/* What holds from the moment a movement is settled, whatever still arrives. */
static void
check_state(Walk *walk, const State *state)
{
	const Coordinator *coordinator = &state->coordinator;
	int			outcome = coordinator->phase == PHASE_CONFIRMED || coordinator->phase == PHASE_DONE;
	bool		settled = coordinator->phase != NOT_STARTED && pointstore_is_settled(coordinator->phase) && coordinator->phase != PHASE_ACCEPTED;

	for (int i = 0; i < walk->setup->nsteps; i++)
	{
		const Participant *part = &state->part[i];

		FAULT_IF(part->applied < 0 || part->applied > 1, "an amount was applied twice, or undone without having been applied");
		FAULT_IF(part->reserved < 0 || part->reserved > 1, "an amount was reserved twice, or given back without having been reserved");
		FAULT_IF(state->marks & MARK_TOLD_CANCELLED && (part->applied || part->reserved || part->prepared),
				 "a movement cancelled before its start has begun");
		if (settled && !(state->marks & MARK_RESTORED) && !(state->cause & CAUSE_OPERATOR && coordinator->phase == PHASE_DONE))
		{
			FAULT_IF(part->applied != outcome, "a settled movement is applied in part");
			FAULT_IF(part->reserved != 0 || part->prepared != NOT_PREPARED, "a settled movement has left a reservation");
		}
	}
	FAULT_IF(coordinator->phase == PHASE_STUCK && state->cause == 0, "stuck without a cause");
	FAULT_IF(coordinator->phase == PHASE_ACCEPTED && coordinator->decided == (DECIDED_CONFIRM | DECIDED_CANCEL), "decided both ways");
}

/* A decision, once carried out, is not turned round; what was said is not taken back. */
static void
check_step(Walk *walk, const State *from, const State *state, Event event)
{
	int			confirms = SENT(VERB_CONFIRM, state->incarnation);
	int			cancels = SENT(VERB_CANCEL, state->incarnation);
	int			sent = 0;
	MovementPhase was = from->coordinator.phase;
	MovementPhase is = state->coordinator.phase;

	for (int i = 0; i < walk->setup->nsteps; i++)
		sent |= state->sent[i];
	FAULT_IF(is != PHASE_ACCEPTED && (sent & confirms) && (sent & cancels), "confirm and cancel were both sent");
	FAULT_IF(state->coordinator.decided == (DECIDED_CONFIRM | DECIDED_CANCEL), "decided both ways");
	if (event != EVENT_RESTORE && event != EVENT_LOSE && event != EVENT_BREAKING && was != NOT_STARTED && pointstore_is_settled(was) && is != was)
		FAULT_IF(!(was == PHASE_DONE && is == PHASE_STUCK), "a settled movement has another phase");
}

static void
step_into(Walk *walk, State *state, Event event, int participant, int detail)
{
	walk->visit(walk, state, event, participant, detail);
}

/* The coordinator's own step is asked and answers in one transaction of its store. */
static void
do_own(Walk *walk, State *state, bool refuses)
{
	int			own = walk->setup->own - 1;
	MovementVerb verb = due_of(walk, state, own);
	int			answer = handle(walk, state, own, verb, refuses);

	check_answer(walk, &state->part[own], answer);
	for (int i = 0; i < walk->setup->nsteps; i++)
		FAULT_IF(i != own && verb == VERB_CANCEL && answer == ANSWER_CANCELLED && walk->setup->protocol != PROTOCOL_SAGA &&
				 state->coordinator.phase != PHASE_ACCEPTED && state->part[i].applied && !(state->marks & MARK_RESTORED),
				 "the own step was given back while another is confirmed");
	take_answer(walk, state, own, answer);
}

/* A movement begins, with its own try in the same transaction. */
static void
start(Walk *walk, const State *from)
{
	State		state = *from;
	Coordinator *coordinator = &state.coordinator;
	int			own = walk->setup->own - 1;

	memset(coordinator, 0, sizeof(Coordinator));
	coordinator->phase = walk->setup->protocol == PROTOCOL_SAGA ? PHASE_DOING : PHASE_TRYING;
	coordinator->incarnation = state.incarnation;
	/* another number: it is not below what is finished */
	for (int i = 0; i < walk->setup->nsteps; i++)
	{
		if (state.part[i].row == PART_BELOW)
			state.part[i].row = PART_NONE;
	}
	if (own >= 0 && walk->setup->protocol != PROTOCOL_SAGA)
	{
		int			answer = handle(walk, &state, own, VERB_TRY, false);

		coordinator->status[own] = pointstore_step_after(walk->setup->protocol, coordinator->phase, STEP_PENDING, answer);
	}
	changed(walk, &state);
	step_into(walk, &state, EVENT_START, 0, 0);
}

/* What callers do. */
static void
callers(Walk *walk, const State *from)
{
	State		state = *from;
	MovementPhase phase = from->coordinator.phase;

	if (phase == NOT_STARTED)
	{
		start(walk, from);
		if (!breaks(walk, BROKEN_CANCEL_BEFORE_START))
		{
			state.coordinator.phase = PHASE_CANCELLED;
			state.coordinator.incarnation = state.incarnation;
			for (int i = 0; i < walk->setup->nsteps; i++)
				state.coordinator.status[i] = STEP_CANCELLED;
		}
		/* a restored store has forgotten what there was */
		if (!(from->marks & MARK_RESTORED))
			state.marks |= MARK_TOLD_CANCELLED;
		if (from->marks != state.marks || !breaks(walk, BROKEN_CANCEL_BEFORE_START))
			step_into(walk, &state, EVENT_CANCEL_FIRST, 0, 0);
		return;
	}
	if (is_undecided(phase) && !from->coordinator.gives_up)
	{
		state.coordinator.gives_up = true;
		if (walk->setup->split)
			enter_phase(walk, &state, phase == PHASE_DOING ? PHASE_UNDOING : PHASE_CANCELLING);
		changed(walk, &state);
		step_into(walk, &state, walk->setup->split ? EVENT_CANCEL : EVENT_DEADLINE, 0, 0);
	}
	if (phase == PHASE_CONFIRMING && breaks(walk, BROKEN_CANCEL_DECIDED))
	{
		enter_phase(walk, &state, PHASE_CANCELLING);
		changed(walk, &state);
		step_into(walk, &state, EVENT_CANCEL, 0, 0);
	}
	if (is_finished(walk, from) && breaks(walk, BROKEN_FORGETS_ID) && !(from->marks & MARK_TOLD_CANCELLED))
	{
		state.coordinator.phase = NOT_STARTED;
		step_into(walk, &state, EVENT_BREAKING, 0, 0);
	}
}

/* What operators do. */
static void
operators(Walk *walk, const State *from)
{
	for (int i = 0; i < walk->setup->nsteps && walk->setup->operators && !(from->cause & CAUSE_OPERATOR); i++)
	{
		const Participant *part = &from->part[i];

		for (MovementVerb verb = VERB_CONFIRM; verb <= VERB_CANCEL; verb++)
		{
			State		state = *from;

			if (part->row != PART_TRIED && part->row != PART_DONE && part->prepared != PREPARED)
				continue;
			state.cause |= CAUSE_OPERATOR;
			/* who rolls back a prepared transaction by hand leaves no tombstone */
			if (handle(walk, &state, i, verb, part->prepared == PREPARED && verb == VERB_CANCEL) == ANSWER_BUSY)
				continue;
			state.unflushed |= walk->setup->unflushed ? 1 << (is_own(walk, i) ? COORDINATOR : i) : 0;
			step_into(walk, &state, verb == VERB_CONFIRM ? EVENT_OPERATOR_CONFIRMS : EVENT_OPERATOR_CANCELS, i, 0);
		}
	}
	for (Resolution decision = RESOLVE_CONFIRM; from->coordinator.phase == PHASE_STUCK && decision <= RESOLVE_ACCEPT; decision++)
	{
		State		state = *from;

		if (!may_resolve(walk, from, decision))
			continue;
		resolve(walk, &state, decision);
		step_into(walk, &state, EVENT_RESOLVE, 0, decision);
	}
}

/* Messages and answers arrive. */
static void
network(Walk *walk, const State *from, int p)
{
	State		state = *from;

	for (int bit = 0; bit < 6; bit++)
	{
		MovementVerb verb = bit % 3 + 1;

		if (!(from->sent[p] & (1 << bit)))
			continue;
		deliver(walk, from, p, bit, EVENT_DELIVER);
		deliver(walk, from, p, bit, EVENT_DELIVER_ANSWER_LOST);
		if (can_refuse(walk, from, p, verb))
			deliver(walk, from, p, bit, EVENT_DELIVER_REFUSED);
		if (from->part[p].prepared == PREPARED && verb == VERB_CANCEL)
			deliver(walk, from, p, bit, EVENT_ROLLED_BACK_ONLY);
	}
	if (from->part[p].prepared == PREPARING)
	{
		state.part[p].prepared = PREPARED;
		state.unflushed |= walk->setup->unflushed ? 1 << p : 0;
		step_into(walk, &state, EVENT_PREPARED, p, 0);
		flush(walk, &state, p);
		state.slot[p] = ANSWER_TRIED + 1;
		step_into(walk, &state, EVENT_PREPARED, p, 1);
		state = *from;
		state.part[p].prepared = NOT_PREPARED;
		step_into(walk, &state, EVENT_PREPARING_DIED, p, 0);
		state = *from;
	}
	if (from->slot[p] != 0)
	{
		state.slot[p] = 0;
		take_answer(walk, &state, p, from->slot[p] - 1);
		step_into(walk, &state, EVENT_ANSWER, p, from->slot[p] - 1);
	}
}

/* The coordinator's own step, restarts, servers that are dropped, what is told to be finished. */
static void
coordinator(Walk *walk, const State *from)
{
	State		state = *from;
	int			own = walk->setup->own - 1;

	if (own >= 0 && due_of(walk, from, own) != VERB_NONE)
	{
		do_own(walk, &state, false);
		step_into(walk, &state, EVENT_OWN, own, due_of(walk, from, own));
		state = *from;
		if (can_refuse(walk, from, own, due_of(walk, from, own)))
		{
			do_own(walk, &state, true);
			step_into(walk, &state, EVENT_OWN_REFUSED, own, due_of(walk, from, own));
		}
	}
	state = *from;
	restart(walk, &state);
	step_into(walk, &state, EVENT_CRASH, 0, 0);
	for (int i = 0; i < walk->setup->nsteps; i++)
	{
		state = *from;
		if (walk->setup->gone && !is_own(walk, i) && due_of(walk, from, i) != VERB_NONE)
		{
			state.cause |= CAUSE_GONE;
			take_answer(walk, &state, i, ANSWER_FAILED);
			step_into(walk, &state, EVENT_GONE, i, 0);
		}
	}
	for (int i = 0; i < walk->setup->nsteps; i++)
	{
		state = *from;
		/* what was done is kept, for who compares stores; tombstones go */
		if (walk->setup->closes && is_finished(walk, from) && (!(from->unflushed & (1 << COORDINATOR)) || breaks(walk, BROKEN_BELOW_UNFLUSHED)) && !(from->marks & MARK_TOLD_CANCELLED) && from->part[i].prepared == NOT_PREPARED &&
			(from->part[i].row == PART_NONE || from->part[i].row == PART_CANCELLED ||
			 (from->part[i].row == PART_CONFIRMED && breaks(walk, BROKEN_DROPS_CONFIRMED))))
		{
			state.part[i].row = breaks(walk, BROKEN_TAKES_BELOW) ? PART_NONE : PART_BELOW;
			step_into(walk, &state, EVENT_BELOW, i, 0);
		}
	}
	state = *from;
	if (walk->setup->split && from->coordinator.phase != NOT_STARTED && from->planned == 0)
	{
		StepStatus	status[MOST_STEPS];
		bool		local[MOST_STEPS];
		MovementView view = view_of(walk, from, status, local);

		state.planned = pointstore_next_phase(&view) + 1;
		state.planned_from = view.phase;
		if (state.planned_from + 1 != state.planned)
			step_into(walk, &state, EVENT_PLAN, 0, state.planned - 1);
	}
	if (walk->setup->split && from->planned != 0)
	{
		if (from->coordinator.phase == from->planned_from || breaks(walk, BROKEN_PHASE_UNCONDITIONAL))
			enter_phase(walk, &state, from->planned - 1);
		state.planned = state.planned_from = 0;
		changed(walk, &state);
		step_into(walk, &state, EVENT_WRITE, 0, state.coordinator.phase);
	}
}

/* Backups, restores, and what was not flushed. */
static void
disasters(Walk *walk, const State *from)
{
	for (int i = 0; i <= COORDINATOR; i++)
	{
		State		state = *from;
		bool		is_coordinator = i == COORDINATOR;
		bool		may_be = is_coordinator ? walk->setup->coordinator_restored :
		walk->setup->participant_restored && i < walk->setup->nsteps && !is_own(walk, i);

		/* what is saved is what has been flushed */
		if (may_be && !(from->marks & MARK_SAVED) && !(from->unflushed & (1 << i)))
		{
			state.marks |= MARK_SAVED;
			state.saved_store = i;
			state.saved_coordinator = is_coordinator ? from->coordinator : state.saved_coordinator;
			if (!is_coordinator || walk->setup->own)
				state.saved_part = from->part[is_coordinator ? walk->setup->own - 1 : i];
			step_into(walk, &state, EVENT_BACKUP, i, 0);
		}
		if (from->saved_store != i)
			continue;
		state.saved_store = NOBODY;
		memset(&state.saved_coordinator, 0, sizeof(Coordinator));
		memset(&state.saved_part, 0, sizeof(Participant));
		state.marks |= MARK_RESTORED;
		if (is_coordinator)
		{
			state.coordinator = from->saved_coordinator;
			/* that was said, and is forgotten */
			state.marks &= ~MARK_TOLD_CANCELLED;
			if (walk->setup->own)
				state.part[walk->setup->own - 1] = from->saved_part;
			state.incarnation++;
			state.cause |= CAUSE_COORDINATOR_RESTORED;
		}
		else
		{
			state.part[i] = from->saved_part;
			state.marks |= MARK_STALE;
			state.cause |= CAUSE_PARTICIPANT_RESTORED;
		}
		state.unflushed |= walk->setup->unflushed ? 1 << i : 0;
		flush(walk, &state, i);
		if (is_coordinator)
			restart(walk, &state);
		step_into(walk, &state, EVENT_RESTORE, i, 0);
	}
}

/* What was written is flushed, or lost with its server. */
static void
flushes(Walk *walk, const State *from)
{
	for (int i = 0; i <= COORDINATOR; i++)
	{
		State		state = *from;

		if (!(from->unflushed & (1 << i)))
			continue;
		flush(walk, &state, i);
		if (i == COORDINATOR)
			send_due(walk, &state);
		step_into(walk, &state, EVENT_FLUSH, i, 0);
		state = *from;
		state.unflushed &= ~(1 << i);
		if (i == COORDINATOR)
		{
			state.coordinator = from->disk_coordinator;
			if (walk->setup->own)
				state.part[walk->setup->own - 1] = from->disk_part[walk->setup->own - 1];
			restart(walk, &state);
		}
		else
			state.part[i] = from->disk_part[i];
		step_into(walk, &state, EVENT_LOSE, i, 0);
	}
}

/* What only a broken rule lets happen at a participant. */
static void
breakings(Walk *walk, const State *from, int p)
{
	State		state = *from;
	Participant *part = &state.part[p];

	if (breaks(walk, BROKEN_DROPS_TOMBSTONES) && part->row == PART_CANCELLED)
		part->row = PART_NONE;
	else if ((breaks(walk, BROKEN_KEY_WITHOUT_ORIGIN) || breaks(walk, BROKEN_CLOCK_RELEASES)) && part->row == PART_TRIED)
		handle(walk, &state, p, VERB_CANCEL, false);
	else if (breaks(walk, BROKEN_WRITER_RELEASES) && part->reserved > 0)
		part->reserved--;
	else if (breaks(walk, BROKEN_PARTICIPANT_AGE_LIMIT) && part->prepared == PREPARED)
		part->prepared = NOT_PREPARED;
	else
		return;
	step_into(walk, &state, EVENT_BREAKING, p, 0);
}

/* All that may happen next. */
static void
successors(Walk *walk, const State *from)
{
	callers(walk, from);
	operators(walk, from);
	for (int i = 0; i < walk->setup->nsteps; i++)
		network(walk, from, i);
	coordinator(walk, from);
	disasters(walk, from);
	flushes(walk, from);
	for (int i = 0; i < walk->setup->nsteps && walk->setup->broken != NOTHING_BROKEN; i++)
		breakings(walk, from, i);
}

/* Whether the steps as known here and the rows there are not the same: what reconcile_movements() finds. */
static bool
is_mismatch(const Walk *walk, const State *state)
{
	for (int i = 0; i < walk->setup->nsteps; i++)
	{
		StepStatus	status = state->coordinator.status[i];
		PartStatus	row = state->part[i].row;

		if (state->coordinator.phase == NOT_STARTED ? row != PART_NONE || state->part[i].prepared :
			row != PART_BELOW && (status == STEP_CONFIRMED) != (row == PART_CONFIRMED))
			return true;
		if (state->coordinator.phase != NOT_STARTED && row != PART_BELOW && is_undone(status) != (row == PART_CANCELLED))
			return true;
	}
	return false;
}

/* How it ends when nothing fails any more: all that is asked arrives, and so do the answers. */
static void
run_to_end(Walk *walk, State *state)
{
	bool		moved = true;

	for (int round = 0; moved && round < 40 && walk->fault == NULL; round++)
	{
		moved = false;
		for (int i = 0; i < walk->setup->nsteps; i++)
		{
			MovementVerb verb = due_of(walk, state, i);
			int			answer;

			if (state->part[i].prepared == PREPARING)
			{
				state->part[i].prepared = PREPARED;
				if (verb == VERB_TRY)
				{
					moved = true;
					take_answer(walk, state, i, ANSWER_TRIED);
					continue;
				}
			}
			if (verb == VERB_NONE)
				continue;
			moved = true;
			if (is_own(walk, i))
			{
				do_own(walk, state, false);
				continue;
			}
			state->part[i].incarnation = Max(state->part[i].incarnation, state->incarnation);
			answer = handle(walk, state, i, verb, false);
			if (answer >= 0)
				take_answer(walk, state, i, answer);
		}
		if (state->coordinator.phase != NOT_STARTED)
		{
			MovementPhase phase = state->coordinator.phase;

			advance(walk, state);
			moved = moved || phase != state->coordinator.phase;
		}
	}
	FAULT_IF(moved, "the movement does not end");
}

/* What is left when nothing moves any more. */
static void
check_end(Walk *walk, const State *state)
{
	MovementPhase phase = state->coordinator.phase;
	int			outcome = phase == PHASE_CONFIRMED || phase == PHASE_DONE;
	bool		told = is_mismatch(walk, state) || (state->marks & MARK_STALE && !breaks(walk, BROKEN_NO_REOPENING));

	if (state->marks & MARK_TOLD_CANCELLED)
		return;
	FAULT_IF(phase != NOT_STARTED && phase != PHASE_STUCK && !is_finished(walk, state), "a movement waits for nothing");
	for (int i = 0; i < walk->setup->nsteps; i++)
	{
		const Participant *part = &state->part[i];
		bool		is_left = part->reserved > 0 || part->prepared != NOT_PREPARED;

		if (phase == PHASE_STUCK)
			return;
		FAULT_IF(is_left && !(state->marks & MARK_RESTORED && told) && !(state->cause & (CAUSE_GONE | CAUSE_CONSTRAINT)), "a reservation is left, and nothing tells");
		if (phase != PHASE_ACCEPTED && phase != NOT_STARTED)
			FAULT_IF(part->applied != outcome && !(state->marks & MARK_RESTORED && told), "applied in part, and nothing tells");
		if (phase == NOT_STARTED)
			FAULT_IF(part->applied && !(state->marks & MARK_RESTORED && told), "applied without a movement, and nothing tells");
	}
}

/* From here an end can be reached: and from where it is stuck, by every word that an operator may say. */
static void
check_can_end(Walk *walk, const State *from)
{
	State		state = *from;

	run_to_end(walk, &state);
	check_end(walk, &state);
	if (state.coordinator.phase != PHASE_STUCK)
		return;
	FAULT_IF(!may_resolve(walk, &state, RESOLVE_ACCEPT), "a stuck movement cannot be accepted");
	for (Resolution decision = RESOLVE_CONFIRM; decision <= RESOLVE_ACCEPT; decision++)
	{
		State		resolved = state;

		if (!may_resolve(walk, &state, decision))
			continue;
		resolve(walk, &resolved, decision);
		run_to_end(walk, &resolved);
		check_end(walk, &resolved);
		FAULT_IF(decision == RESOLVE_ACCEPT && resolved.coordinator.phase != PHASE_ACCEPTED, "what was accepted is not");
	}
}
