/*
 * test/unit/protocol.c
 *		nodes/protocol by itself: its tables, and every state that a movement can get into.
 *
 * movement_model.h is the model, movement_walk.h what may happen in it and what must hold.
 * Here the states are walked through, breadth first, so that the way to a fault is a
 * shortest one.
 */
#include "nodes/protocol.c"

#include "common/hashfn.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "movement_model.h"
#include "movement_walk.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(protocol_participant);
PG_FUNCTION_INFO_V1(protocol_coordinator);
PG_FUNCTION_INFO_V1(protocol_walk);
PG_FUNCTION_INFO_V1(protocol_walks);
PG_FUNCTION_INFO_V1(protocol_rules);

/* All states seen, in the order seen; each knows from where. */
typedef struct Explorer
{
	size_t		size;			/* of a state */
	char	   *states;
	int		   *parents;
	uint16	   *labels;			/* event, participant, detail */
	int			n;
	int			room;
	int		   *places;			/* by hash; 0: free, else a state's number + 1 */
	uint32		mask;
	int			current;
	int			last;			/* of the way to a fault */
} Explorer;

#define EVERYTHING 4000000

static void visit(Walk *walk, const State *state, Event event, int participant, int detail);

/* who takes part: the coordinator's own step and one, two or three away, or those away alone */
#define ONE(p) .protocol = (p), .nsteps = 2, .own = 1
#define TWO(p) .protocol = (p), .nsteps = 3, .own = 1
#define THREE(p) .protocol = (p), .nsteps = 4, .own = 1
#define AWAY(p) .protocol = (p), .nsteps = 2
#define EACH(p, prefix) \
	{prefix ": crashes", TWO(p), .closes = true}, \
	{prefix ": crashes, none its own", AWAY(p), .closes = true}, \
	{prefix ": crashes, the last its own", .protocol = (p), .nsteps = 3, .own = 3, .closes = true}, \
	{prefix ": crashes, three away", .protocol = (p), .nsteps = 3, .closes = true}, \
	{prefix ": operators", TWO(p), .operators = true, .closes = true}, \
	{prefix ": constraints", TWO(p), .constraints = true}, \
	{prefix ": servers dropped", TWO(p), .gone = true}, \
	{prefix ": participant restored", TWO(p), .participant_restored = true, .operators = true, .closes = true}, \
	{prefix ": coordinator restored", TWO(p), .coordinator_restored = true}, \
	{prefix ": all of it", ONE(p), .closes = true, .operators = true, .participant_restored = true, .coordinator_restored = true, \
		.constraints = true, .gone = true}, \
	{prefix ": written in two steps", TWO(p), .split = true}, \
	{prefix ": flushed later", TWO(p), .unflushed = true}, \
	{prefix ": flushed later, operators", AWAY(p), .unflushed = true, .operators = true}

/* What takes longer. */
#define LONG(p, prefix) \
	{prefix ": operators, three away", THREE(p), .closes = true, .operators = true}, \
	{prefix ": coordinator restored, operators", TWO(p), .closes = true, .operators = true, .coordinator_restored = true}, \
	{prefix ": flushed later, restored", ONE(p), .unflushed = true, .closes = true, .operators = true, .participant_restored = true, \
		.coordinator_restored = true}

static const Setup setups[] = {
	EACH(PROTOCOL_TCC, "tcc"),
	EACH(PROTOCOL_SAGA, "saga"),
	EACH(PROTOCOL_2PC, "2pc"),
};

static const Setup long_setups[] = {
	LONG(PROTOCOL_TCC, "tcc"),
	LONG(PROTOCOL_SAGA, "saga"),
	LONG(PROTOCOL_2PC, "2pc"),
	{"tcc: coordinator restored, operators, three away", .protocol = PROTOCOL_TCC, .nsteps = 3, .closes = true, .operators = true, .coordinator_restored = true},
	{"saga: coordinator restored, operators, three away", .protocol = PROTOCOL_SAGA, .nsteps = 3, .closes = true, .operators = true, .coordinator_restored = true},
};

/* Each rule broken, where it shows. */
static const Setup broken_setups[] = {
	{"1 cancel goes to who has tried alone", AWAY(PROTOCOL_TCC), .broken = BROKEN_CANCEL_KNOWN_ONLY},
	{"1 undo goes to who has done alone", AWAY(PROTOCOL_SAGA), .broken = BROKEN_CANCEL_KNOWN_ONLY},
	{"1 no tombstone", AWAY(PROTOCOL_TCC), .broken = BROKEN_NO_TOMBSTONE},
	{"1 no tombstone, saga", AWAY(PROTOCOL_SAGA), .broken = BROKEN_NO_TOMBSTONE},
	{"1 no tombstone, 2pc", AWAY(PROTOCOL_2PC), .broken = BROKEN_NO_TOMBSTONE},
	{"1 finished when one has acknowledged", AWAY(PROTOCOL_TCC), .broken = BROKEN_FINISHED_EARLY},
	{"2 try sent unflushed", AWAY(PROTOCOL_TCC), .unflushed = true, .broken = BROKEN_SEND_UNFLUSHED},
	{"2 prepare sent unflushed", AWAY(PROTOCOL_2PC), .unflushed = true, .broken = BROKEN_SEND_UNFLUSHED},
	{"2 confirm sent unflushed", AWAY(PROTOCOL_TCC), .unflushed = true, .broken = BROKEN_DECISION_UNFLUSHED},
	{"2 undo sent unflushed", AWAY(PROTOCOL_SAGA), .unflushed = true, .broken = BROKEN_DECISION_UNFLUSHED},
	{"2 commit prepared sent unflushed", AWAY(PROTOCOL_2PC), .unflushed = true, .broken = BROKEN_DECISION_UNFLUSHED},
	{"2 end answered unflushed", AWAY(PROTOCOL_TCC), .unflushed = true, .broken = BROKEN_END_UNFLUSHED},
	{"2 answered unflushed", AWAY(PROTOCOL_TCC), .unflushed = true, .broken = BROKEN_ANSWER_UNFLUSHED},
	{"2 replayed unflushed", AWAY(PROTOCOL_TCC), .unflushed = true, .broken = BROKEN_REPLAY_UNFLUSHED},
	{"2 replayed unflushed, saga", AWAY(PROTOCOL_SAGA), .unflushed = true, .broken = BROKEN_REPLAY_UNFLUSHED},
	{"2 sent after a restart, unflushed", AWAY(PROTOCOL_TCC), .unflushed = true, .broken = BROKEN_RESTART_UNFLUSHED},
	{"2 told what is finished unflushed", AWAY(PROTOCOL_TCC), .unflushed = true, .closes = true, .broken = BROKEN_BELOW_UNFLUSHED},
	{"3 phase written whatever it is", AWAY(PROTOCOL_TCC), .split = true, .broken = BROKEN_PHASE_UNCONDITIONAL},
	{"4 confirm is judged", AWAY(PROTOCOL_TCC), .broken = BROKEN_CONFIRM_JUDGED},
	{"4 undo is judged", AWAY(PROTOCOL_SAGA), .broken = BROKEN_UNDO_JUDGED},
	{"5 the id is forgotten", AWAY(PROTOCOL_TCC), .closes = true, .broken = BROKEN_FORGETS_ID},
	{"5 tombstones go early", AWAY(PROTOCOL_TCC), .broken = BROKEN_DROPS_TOMBSTONES},
	{"5 tries below are taken", AWAY(PROTOCOL_TCC), .closes = true, .broken = BROKEN_TAKES_BELOW},
	{"5 below what is not finished", AWAY(PROTOCOL_SAGA), .closes = true, .broken = BROKEN_BELOW_UNFINISHED},
	{"5 what was confirmed goes too", AWAY(PROTOCOL_TCC), .coordinator_restored = true, .closes = true, .broken = BROKEN_DROPS_CONFIRMED},
	{"6 the key has no origin", AWAY(PROTOCOL_TCC), .broken = BROKEN_KEY_WITHOUT_ORIGIN},
	{"7 a writer releases", AWAY(PROTOCOL_TCC), .broken = BROKEN_WRITER_RELEASES},
	{"7 a contradiction is settled", AWAY(PROTOCOL_TCC), .operators = true, .broken = BROKEN_CONTRADICTION_SETTLES},
	{"7 a contradiction is settled, saga", AWAY(PROTOCOL_SAGA), .operators = true, .broken = BROKEN_CONTRADICTION_SETTLES},
	{"8 confirm resolves anything", AWAY(PROTOCOL_TCC), .operators = true, .broken = BROKEN_RESOLVE_CONFIRM},
	{"8 cancel resolves anything", AWAY(PROTOCOL_TCC), .operators = true, .broken = BROKEN_RESOLVE_CANCEL},
	{"9 tries are trusted", AWAY(PROTOCOL_TCC), .participant_restored = true, .broken = BROKEN_TRUSTS_TRIES},
	{"9 no fence", AWAY(PROTOCOL_TCC), .coordinator_restored = true, .broken = BROKEN_NO_FENCE},
	{"9 decided unasked", AWAY(PROTOCOL_TCC), .coordinator_restored = true, .broken = BROKEN_DECIDES_UNASKED},
	{"9 the own step is cancelled first", TWO(PROTOCOL_TCC), .operators = true, .broken = BROKEN_OWN_CANCELLED_FIRST},
	{"10 nothing is reopened", AWAY(PROTOCOL_TCC), .participant_restored = true, .closes = true, .broken = BROKEN_NO_REOPENING},
	{"11 abort beside who prepares", AWAY(PROTOCOL_2PC), .broken = BROKEN_ABORT_BESIDE_PREPARING},
	{"11 a repeated try rolls back first", AWAY(PROTOCOL_2PC), .broken = BROKEN_RETRY_ROLLS_BACK},
	{"11 what is gone is taken as committed", AWAY(PROTOCOL_2PC), .operators = true, .broken = BROKEN_GONE_IS_COMMITTED},
	{"11 participants abort by age", AWAY(PROTOCOL_2PC), .broken = BROKEN_PARTICIPANT_AGE_LIMIT},
	{"12 a cancel before the start is not kept", AWAY(PROTOCOL_TCC), .broken = BROKEN_CANCEL_BEFORE_START},
	{"12 what is decided is cancelled", AWAY(PROTOCOL_TCC), .broken = BROKEN_CANCEL_DECIDED},
	{"14 a clock releases", AWAY(PROTOCOL_TCC), .broken = BROKEN_CLOCK_RELEASES},
};

static State *
state_at(Explorer *explorer, int i)
{
	return (State *) (explorer->states + explorer->size * i);
}

static uint32
hash_of(Explorer *explorer, const char *state)
{
	return hash_bytes((const unsigned char *) state, explorer->size);
}

static void
make_room(Explorer *explorer)
{
	explorer->room = explorer->room * 2;
	explorer->mask = explorer->mask * 2 + 1;
	explorer->states = repalloc_huge(explorer->states, explorer->size * explorer->room);
	explorer->parents = repalloc_huge(explorer->parents, sizeof(int) * explorer->room);
	explorer->labels = repalloc_huge(explorer->labels, sizeof(uint16) * explorer->room);
	pfree(explorer->places);
	explorer->places = MemoryContextAllocExtended(CurrentMemoryContext, sizeof(int) * ((Size) explorer->mask + 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int i = 0; i < explorer->n; i++)
	{
		uint32		place = hash_of(explorer, (char *) state_at(explorer, i)) & explorer->mask;

		while (explorer->places[place] != 0)
			place = (place + 1) & explorer->mask;
		explorer->places[place] = i + 1;
	}
}

static Explorer *
begin_walk(const Setup *setup)
{
	Explorer   *explorer = palloc0(sizeof(Explorer));

	explorer->size = state_size(setup);
	explorer->room = 1 << 12;
	explorer->mask = (1 << 14) - 1;
	explorer->states = palloc(explorer->size * explorer->room);
	explorer->parents = palloc(sizeof(int) * explorer->room);
	explorer->labels = palloc(sizeof(uint16) * explorer->room);
	explorer->places = palloc0(sizeof(int) * ((Size) explorer->mask + 1));
	return explorer;
}

/* A state that was reached: kept where it is new, and then examined. */
static void
visit(Walk *walk, const State *state, Event event, int participant, int detail)
{
	Explorer   *explorer = walk->explorer;
	uint32		place = hash_of(explorer, (const char *) state) & explorer->mask;

	if (walk->fault == NULL && explorer->n > 0)
		check_step(walk, state_at(explorer, explorer->current), state, event);
	while (explorer->places[place] != 0 &&
		   memcmp(state_at(explorer, explorer->places[place] - 1), state, explorer->size) != 0)
		place = (place + 1) & explorer->mask;
	if (explorer->places[place] != 0 && walk->fault == NULL)
		return;
	if (explorer->n >= EVERYTHING)
		elog(ERROR, "there is no end to %s", walk->setup->name);
	if (explorer->last > 0)
		return;
	memcpy(state_at(explorer, explorer->n), state, explorer->size);
	explorer->parents[explorer->n] = explorer->current;
	explorer->labels[explorer->n] = event << 8 | participant << 4 | detail;
	explorer->places[place] = ++explorer->n;
	if (walk->fault == NULL)
		check_state(walk, state);
	if (walk->fault == NULL)
		check_can_end(walk, state);
	if (walk->fault != NULL)
		explorer->last = explorer->n - 1;
	if (explorer->n == explorer->room)
		make_room(explorer);
}

/* Walks until all states are seen, or a fault. */
static void
walk_through(Walk *walk)
{
	Explorer   *explorer = begin_walk(walk->setup);
	State		state;

	walk->explorer = explorer;
	walk->visit = visit;
	memset(&state, 0, sizeof(State));
	state.coordinator.phase = NOT_STARTED;
	state.saved_store = NOBODY;
	state.disk_coordinator = state.coordinator;
	visit(walk, &state, EVENT_NONE, 0, 0);
	for (explorer->current = 0; explorer->current < explorer->n && walk->fault == NULL; explorer->current++)
	{
		CHECK_FOR_INTERRUPTS();
		memcpy(&state, state_at(explorer, explorer->current), explorer->size);
		successors(walk, &state);
	}
}

static void
append_state(StringInfo out, const Setup *setup, const State *state)
{
	const Coordinator *coordinator = &state->coordinator;

	appendStringInfo(out, " -> %s%s", coordinator->phase == NOT_STARTED ? "none" : pointstore_phase_names[coordinator->phase], coordinator->gives_up ? "!" : "");
	for (int i = 0; i < setup->nsteps; i++)
		appendStringInfo(out, "  %s/%s%s%+d%+d", pointstore_step_names[coordinator->status[i]], pointstore_part_names[state->part[i].row],
						 state->part[i].prepared == PREPARED ? "(prepared)" : state->part[i].prepared ? "(preparing)" : "",
						 state->part[i].reserved, state->part[i].applied);
	appendStringInfoChar(out, '\n');
}

/* The way to the last state. */
static void
append_way(StringInfo out, const Walk *walk)
{
	Explorer   *explorer = walk->explorer;
	int			way[200];
	int			n = 0;

	for (int at = explorer->last; at > 0 && n < lengthof(way); at = explorer->parents[at])
		way[n++] = at;
	while (n-- > 0)
	{
		uint16		label = explorer->labels[way[n]];

		appendStringInfo(out, "    %s (%d, %d)", event_names[label >> 8], (label >> 4) & 15, label & 15);
		append_state(out, walk->setup, state_at(explorer, way[n]));
	}
	appendStringInfo(out, "    %s\n", walk->fault);
}

static const Setup *
find_setup(const Setup *among, int n, const char *name)
{
	for (int i = 0; i < n; i++)
	{
		if (strcmp(among[i].name, name) == 0)
			return &among[i];
	}
	return NULL;
}

static const Setup *
setup_of(const char *name)
{
	const Setup *setup = find_setup(setups, lengthof(setups), name);

	if (setup == NULL)
		setup = find_setup(long_setups, lengthof(long_setups), name);
	if (setup == NULL)
		setup = find_setup(broken_setups, lengthof(broken_setups), name);
	if (setup == NULL)
		elog(ERROR, "there is no walk %s", name);
	return setup;
}

/* protocol_walk(name, mended): the number of states, or the way to a fault; mended: with no rule broken. */
Datum
protocol_walk(PG_FUNCTION_ARGS)
{
	Setup		setup = *setup_of(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	Walk		walk = {.setup = &setup};
	StringInfoData out;

	if (PG_GETARG_BOOL(1))
		setup.broken = NOTHING_BROKEN;
	initStringInfo(&out);
	walk_through(&walk);
	if (walk.fault == NULL)
		appendStringInfo(&out, "%d", ((Explorer *) walk.explorer)->n);
	else
		append_way(&out, &walk);
	PG_RETURN_TEXT_P(cstring_to_text(out.data));
}

static Datum
names(const Setup *from, int n)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < n; i++)
		appendStringInfo(&out, "%s\n", from[i].name);
	return PointerGetDatum(cstring_to_text(out.data));
}

/* protocol_walks(long): the names of the walks that must find no fault. */
Datum
protocol_walks(PG_FUNCTION_ARGS)
{
	return PG_GETARG_BOOL(0) ? names(long_setups, lengthof(long_setups)) : names(setups, lengthof(setups));
}

/* The names of the walks that must find one. */
Datum
protocol_rules(PG_FUNCTION_ARGS)
{
	return names(broken_setups, lengthof(broken_setups));
}

/* What a participant does about a message, in words. */
static char *
participant_cell(MovementProtocol protocol, PartStatus row, MovementVerb verb)
{
	static const char *const acts[] = {"", "reserve, ", "apply, ", "release, ", "undo, ", "keep, ", "tombstone, "};
	const ParticipantRule *rule = pointstore_participant_rule(protocol, row, verb);

	return psprintf("%s%s%s%s", protocol != PROTOCOL_TCC && rule->act == ACT_RESERVE ? "apply, " : acts[rule->act],
					pointstore_answer_names[rule->answer], rule->becomes == row ? "" : " → ",
					rule->becomes == row ? "" : pointstore_part_names[rule->becomes]);
}

/* What a participant does, a line for each row: try, confirm, cancel. */
Datum
protocol_participant(PG_FUNCTION_ARGS)
{
	StringInfoData out;

	initStringInfo(&out);
	for (PartStatus row = 0; row < N_PART_STATUSES; row++)
	{
		appendStringInfo(&out, "| %s |", pointstore_part_names[row]);
		for (MovementVerb verb = VERB_TRY; verb <= VERB_CANCEL; verb++)
		{
			char	   *tcc = participant_cell(PROTOCOL_TCC, row, verb);
			char	   *saga = participant_cell(PROTOCOL_SAGA, row, verb);
			char	   *two_phase = participant_cell(PROTOCOL_2PC, row, verb);

			if (strcmp(tcc, saga) == 0 && strcmp(tcc, two_phase) == 0)
				appendStringInfo(&out, " %s |", tcc);
			else
				appendStringInfo(&out, " tcc: %s · saga: %s · 2pc: %s |", tcc, saga, two_phase);
		}
		appendStringInfoChar(&out, '\n');
	}
	PG_RETURN_TEXT_P(cstring_to_text(out.data));
}

/* The phase of a movement of one step, when nothing more follows from it. */
static MovementPhase
phase_of_one(MovementProtocol protocol, MovementPhase phase, StepStatus status, bool gives_up)
{
	bool		local = false;
	MovementView view = {.protocol = protocol, .phase = phase, .gives_up = gives_up, .nsteps = 1, .status = &status, .local = &local};

	while (pointstore_next_phase(&view) != view.phase)
		view.phase = pointstore_next_phase(&view);
	return view.phase;
}

/* What a phase asks of one step, and what is then by each answer; null: it asks nothing. */
static char *
coordinator_cells(MovementProtocol protocol, MovementPhase phase, StepStatus status)
{
	bool		local = false;
	MovementView view = {.protocol = protocol, .phase = phase, .nsteps = 1, .status = &status, .local = &local};
	MovementVerb verb = pointstore_next_message(&view, 0);
	StringInfoData out;
	const char *separator = "";

	if (verb == VERB_NONE)
		return NULL;
	initStringInfo(&out);
	appendStringInfo(&out, "%s | ", pointstore_verb_names[verb]);
	for (MovementPhase next = 0; next < N_PHASES; next++)
	{
		bool		any = false;

		for (MovementAnswer answer = 0; answer < N_ANSWERS; answer++)
		{
			StepStatus	becomes = pointstore_step_after(protocol, phase, status, answer);

			if (becomes == status || phase_of_one(protocol, phase, becomes, false) != next)
				continue;
			appendStringInfo(&out, "%s%s", any ? ", " : separator, pointstore_answer_names[answer]);
			any = true;
		}
		if (any)
			appendStringInfo(&out, ": %s", pointstore_phase_names[next]);
		separator = out.data[out.len - 2] == '|' ? "" : " · ";
	}
	if (phase_of_one(protocol, phase, status, true) != phase)
		appendStringInfo(&out, " · deadline, cancel: %s", pointstore_phase_names[phase_of_one(protocol, phase, status, true)]);
	return out.data;
}

static void
append_phase(StringInfo out, MovementProtocol protocol, MovementPhase phase)
{
	for (StepStatus status = 0; status < N_STEP_STATUSES; status++)
	{
		char	   *cells = coordinator_cells(protocol, phase, status);

		if (cells == NULL || status == (protocol == PROTOCOL_SAGA ? STEP_TRIED : STEP_DONE))
			continue;
		if (protocol == PROTOCOL_TCC && strcmp(cells, coordinator_cells(PROTOCOL_2PC, phase, status)) != 0)
			elog(ERROR, "2pc differs from tcc while %s", pointstore_phase_names[phase]);
		appendStringInfo(out, "| %s | %s | %s | %s |\n", protocol == PROTOCOL_TCC ? "tcc, 2pc" : "saga", pointstore_phase_names[phase],
						 pointstore_step_names[status], cells);
	}
}

/* What the coordinator asks of a step and does about the answer, a line for each phase and status, as if it were the only step. */
Datum
protocol_coordinator(PG_FUNCTION_ARGS)
{
	static const MovementPhase phases[2][4] = {
		{PHASE_TRYING, PHASE_CONFIRMING, PHASE_CANCELLING, PHASE_ACCEPTED}, {PHASE_DOING, PHASE_DONE, PHASE_UNDOING, PHASE_ACCEPTED}
	};
	StringInfoData out;

	initStringInfo(&out);
	for (MovementProtocol protocol = PROTOCOL_TCC; protocol <= PROTOCOL_SAGA; protocol++)
	{
		for (int i = 0; i < lengthof(phases[0]); i++)
			append_phase(&out, protocol, phases[protocol][i]);
	}
	PG_RETURN_TEXT_P(cstring_to_text(out.data));
}
