/*
 * test/unit/queue.c
 *		The queue of combined appends by itself: every change of a slot's state from
 *		every state, and random walks of callers and combiners of two databases
 *		in one process, after each step of which all lists are sound.
 */
#include "submit/queue.c"

#include "utils/builtins.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(queue_transitions);
PG_FUNCTION_INFO_V1(queue_walk);
PG_FUNCTION_INFO_V1(queue_starts);

#define SLOTS		24
#define DATABASES	2
#define N_STATES	(SLOT_ANSWERED + 1)

#define CHECK(condition) \
	do { \
		if (!(condition)) \
			elog(ERROR, "line %d: %s", __LINE__, #condition); \
	} while (0)

static const char *const state_names[] = {"free", "waiting", "taken", "abandoned", "decided", "answered"};

/* Of one database: what its combiner has taken, and what its callers have. */
typedef struct Side
{
	Queue	   *queue;			/* null: it has no combiner */
	Slot	   *taken[SLOTS];
	int			ntaken;
	Slot	   *called[SLOTS];
	int			ncalled;
} Side;

static Oid	own_database;

/* The request itself does not matter to the queue. */
void
pointstore_message_ask(Message *message, const ProposedEvent *events, int n)
{
	message->nevents = n;
}

/* A queue of that many slots, all free; calls are as of the first database. */
static void
begin(int nslots)
{
	own_database = MyDatabaseId;
	combine_slots = nslots;
	shared = palloc(pointstore_queue_memory());
	initialize(shared);
	MyDatabaseId = 1;
}

static void
end(void)
{
	MyDatabaseId = own_database;
	shared = NULL;
}

/* A slot in some state, by the changes that lead there. */
static Slot *
slot_in(SlotState state)
{
	Slot	   *slot;

	begin(SLOTS);
	slot = &shared->slots[shared->free];
	if (state == SLOT_FREE)
		return slot;
	slot = pointstore_queue_put(NULL, 0);
	if (state == SLOT_WAITING)
		return slot;
	shared->queues[slot->queue].first = shared->queues[slot->queue].last = -1;
	take(slot);
	if (state == SLOT_ABANDONED)
		abandon(slot);
	else if (state == SLOT_DECIDED)
		follow(slot, slot, slot);
	else if (state == SLOT_ANSWERED)
		answer(slot);
	return slot;
}

static void
try_enter(Slot *slot)
{
	shared->free = slot - shared->slots;
	(void) enter(find_queue(), NULL, 0);
}

static void
try_withdraw(Slot *slot)
{
	withdraw(slot);
}

static void
try_follow(Slot *slot)
{
	follow(slot, slot, slot);
}

/* What a change makes of a slot in some state: the state it has then, or "-" when the change is refused. */
static const char *
outcome_of(SlotState state, void (*change_state) (Slot *slot))
{
	Slot	   *volatile slot = slot_in(state);
	const char *volatile outcome = "-";
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		change_state(slot);
		outcome = state_names[state_of(slot)];
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
		if (state_of(slot) != state)
			outcome = "refused, but changed";
	}
	PG_END_TRY();
	end();
	return outcome;
}

/* queue_transitions() returns text: a line for each change, with what it makes of each state. */
Datum
queue_transitions(PG_FUNCTION_ARGS)
{
	static const struct
	{
		const char *name;
		void		(*change_state) (Slot *slot);
	}			changes[] = {
		{"enter", try_enter}, {"withdraw", try_withdraw}, {"take", take}, {"follow", try_follow},
		{"answer", answer}, {"abandon", abandon}, {"release", release}
	};
	StringInfoData table;
	int			i;
	SlotState	state;

	initStringInfo(&table);
	for (i = 0; i < lengthof(changes); i++)
	{
		appendStringInfoString(&table, changes[i].name);
		for (state = SLOT_FREE; state < N_STATES; state++)
			appendStringInfo(&table, " %s", outcome_of(state, changes[i].change_state));
		appendStringInfoChar(&table, '\n');
	}
	PG_RETURN_TEXT_P(cstring_to_text(table.data));
}

/* The free list, the queues and the leaders' chains hold each slot as its state says, and once. */
static void
check_lists(void)
{
	int			held[SLOTS] = {0};
	int			nslots[DATABASES] = {0};
	int			nfree = 0;
	int			i;
	int			j;

	for (i = shared->free; i >= 0; i = shared->slots[i].next, nfree++)
	{
		CHECK(held[i]++ == 0);
		CHECK(state_of(&shared->slots[i]) == SLOT_FREE);
	}
	CHECK(nfree == shared->nfree);
	for (j = 0; j < shared->nqueues; j++)
	{
		int			last = -1;

		for (i = shared->queues[j].first; i >= 0; last = i, i = shared->slots[i].next)
		{
			CHECK(held[i]++ == 0);
			CHECK(state_of(&shared->slots[i]) == SLOT_WAITING && shared->slots[i].queue == j);
		}
		CHECK(last == shared->queues[j].last);
	}
	for (j = 0; j < SLOTS; j++)
		if (state_of(&shared->slots[j]) == SLOT_ANSWERED)
			for (i = shared->slots[j].next; i >= 0; i = shared->slots[i].next)
			{
				CHECK(held[i]++ == 0);
				CHECK(state_of(&shared->slots[i]) == SLOT_DECIDED || state_of(&shared->slots[i]) == SLOT_ABANDONED);
				CHECK(shared->slots[i].flush <= shared->slots[j].flush);
			}
	for (i = 0; i < SLOTS; i++)
	{
		SlotState	state = state_of(&shared->slots[i]);

		CHECK(held[i] == 1 || (state != SLOT_FREE && state != SLOT_WAITING && state != SLOT_DECIDED));
		if (state != SLOT_FREE)
			nslots[shared->slots[i].queue]++;
	}
	for (j = 0; j < DATABASES; j++)
		CHECK(nslots[j] == shared->queues[j].nslots);
}

/* A caller comes, where it gets a slot without waiting. */
static void
call(Side *side)
{
	if (has_slot_for(find_queue()))
		side->called[side->ncalled++] = pointstore_queue_put(NULL, 1);
}

/* A caller sees to its combiner, and leaves: answered, or cancelled. */
static void
leave(Side *side, bool only_answered)
{
	int			i = side->ncalled == 0 ? 0 : random() % side->ncalled;
	QueueStart	order;

	if (side->ncalled == 0 || (only_answered && !pointstore_queue_is_answered(side->called[i])))
		return;
	if (!only_answered && side->queue == NULL && state_of(side->called[i]) == SLOT_WAITING && random() % 2 == 0)
	{
		CHECK(pointstore_queue_look_after(side->called[i], &order) == QUEUE_START_COMBINER);
		CHECK((side->queue = pointstore_queue_open(&order)) != NULL);
		CHECK(pointstore_queue_open(&order) == NULL);
		return;
	}
	pointstore_queue_leave(side->called[i]);
	side->called[i] = side->called[--side->ncalled];
}

/* The combiner takes all that wait, in their order. */
static void
take_all(Side *side)
{
	int			first = side->queue->first;
	int			n = pointstore_queue_take(side->queue, side->taken + side->ntaken);

	CHECK((n == 0) == (first < 0));
	CHECK(n == 0 || side->taken[side->ntaken] == &shared->slots[first]);
	side->ntaken += n;
}

/* The combiner answers the first of what it has taken; some answers have to be flushed first. */
static void
answer_some(Side *side, int n)
{
	Slot	   *slots[SLOTS];
	int			i;

	for (i = 0; i < n; i++)
	{
		slots[i] = side->taken[i];
		slots[i]->flush = random() % 3 == 0 ? InvalidXLogRecPtr : 1 + random() % 100;
	}
	pointstore_queue_answer(slots, n);
	side->ntaken -= n;
	memmove(side->taken, side->taken + n, side->ntaken * sizeof(Slot *));
}

/* The combiner frees what callers have left that it has put off. */
static void
drop_some(Side *side)
{
	int			left = 0;
	int			i;

	pointstore_queue_drop_abandoned(side->taken, side->ntaken);
	for (i = 0; i < side->ntaken; i++)
		if (side->taken[i] != NULL)
			side->taken[left++] = side->taken[i];
	side->ntaken = left;
}

/* The combiner ends, as it would when it is terminated. */
static void
close_queue(Side *side)
{
	answer_some(side, side->ntaken);
	CHECK(pointstore_queue_close(side->queue, false));
	side->queue = NULL;
}

static void
step(Side *side)
{
	int			what = random() % 100;

	if (what < 35)
		call(side);
	else if (what < 55)
		leave(side, true);
	else if (what < 65 || side->queue == NULL)
		leave(side, false);
	else if (what < 80)
		take_all(side);
	else if (what < 95)
		answer_some(side, side->ntaken == 0 ? 0 : random() % (side->ntaken + 1));
	else if (what < 99)
		drop_some(side);
	else
		close_queue(side);
}

/* All leave: what is left is a queue as at the beginning. */
static void
finish(Side *sides)
{
	int			i;

	for (i = 0; i < DATABASES; i++)
	{
		if (sides[i].queue != NULL)
		{
			take_all(&sides[i]);
			close_queue(&sides[i]);
		}
		while (sides[i].ncalled > 0)
			pointstore_queue_leave(sides[i].called[--sides[i].ncalled]);
		check_lists();
	}
	CHECK(shared->nfree == SLOTS);
}

/* queue_walk(seed integer, steps integer) returns void */
Datum
queue_walk(PG_FUNCTION_ARGS)
{
	Side		sides[DATABASES] = {{0}};
	int			i;

	srandom(PG_GETARG_INT32(0));
	begin(SLOTS);
	PG_TRY();
	{
		for (i = 0; i < PG_GETARG_INT32(1); i++)
		{
			int			which = i < DATABASES ? i : random() % DATABASES;

			MyDatabaseId = which + 1;
			/* else the queue may go to the other database */
			if (sides[which].ncalled == 0 && sides[which].queue == NULL)
				call(&sides[which]);
			find_queue()->failures = 0;
			step(&sides[which]);
			check_lists();
		}
		finish(sides);
	}
	PG_FINALLY();
	{
		end();
	}
	PG_END_TRY();
	PG_RETURN_VOID();
}

/* A combiner is asked for, does not come, another is, and none is waited for longer than that. */
static void
check_late_start(void)
{
	Slot	   *slot = pointstore_queue_put(NULL, 0);
	Queue	   *queue = &shared->queues[slot->queue];
	QueueStart	first;
	QueueStart	second;

	CHECK(pointstore_queue_look_after(slot, &first) == QUEUE_START_COMBINER);
	CHECK(pointstore_queue_look_after(slot, &second) == QUEUE_WAIT);
	queue->since -= INT64CONST(1000) * (START_TIMEOUT + 1);
	CHECK(pointstore_queue_look_after(slot, &second) == QUEUE_START_COMBINER);
	CHECK(pointstore_queue_open(&first) == NULL);
	pointstore_queue_start_failed(&first);
	CHECK(queue->combiner == COMBINER_STARTING);
	queue->since -= INT64CONST(1000) * (START_PATIENCE + 1);
	CHECK(pointstore_queue_look_after(slot, &first) == QUEUE_GIVE_UP);
	CHECK(state_of(slot) == SLOT_FREE);
	pointstore_queue_leave(slot);	/* which is not its any more */
	CHECK(shared->nfree == SLOTS);

	/* it comes after all, and serves those that call then */
	CHECK(pointstore_queue_open(&second) == queue);
	slot = pointstore_queue_put(NULL, 0);
	CHECK(pointstore_queue_look_after(slot, &first) == QUEUE_WAIT);
	CHECK(!pointstore_queue_close(queue, true));
	pointstore_queue_leave(slot);
	CHECK(pointstore_queue_close(queue, true));
}

/* No worker is to be had: the caller is told, and those after it do not ask again at once. */
static void
check_failed_start(void)
{
	Slot	   *slot = pointstore_queue_put(NULL, 0);
	QueueStart	start;

	shared->queues[slot->queue].since = GetCurrentTimestamp();
	shared->queues[slot->queue].failures = 0;
	CHECK(pointstore_queue_look_after(slot, &start) == QUEUE_START_COMBINER);
	pointstore_queue_start_failed(&start);
	CHECK(pointstore_queue_open(&start) == NULL);
	CHECK(pointstore_queue_look_after(slot, &start) == QUEUE_GIVE_UP);
	slot = pointstore_queue_put(NULL, 0);
	CHECK(pointstore_queue_look_after(slot, &start) == QUEUE_GIVE_UP);
}

/* No database takes the last slots, nor keeps a queue that it has no use for. */
static void
check_shares(void)
{
	Queue	   *queue = find_queue();
	int			i;

	for (i = 0; has_slot_for(queue); i++)
		(void) pointstore_queue_put(NULL, 0);
	CHECK(i == SLOTS - SLOTS / RESERVE);
	MyDatabaseId = 2;
	CHECK(find_queue() != queue && has_slot_for(find_queue()));
	queue = find_queue();
	for (i = 0; i < shared->nqueues; i++)
		if (&shared->queues[i] != queue)
			shared->queues[i].combiner = COMBINER_RUNNING;
	MyDatabaseId = 3;
	CHECK(find_queue() == queue);
	(void) pointstore_queue_put(NULL, 0);
	MyDatabaseId = 2;
	CHECK(find_queue() == NULL && pointstore_queue_put(NULL, 0) == NULL);
}

/* queue_starts() returns void: which combiner a queue gets, and what becomes of callers when none comes. */
Datum
queue_starts(PG_FUNCTION_ARGS)
{
	begin(SLOTS);
	PG_TRY();
	{
		check_late_start();
		check_failed_start();
		check_shares();
	}
	PG_FINALLY();
	{
		end();
	}
	PG_END_TRY();
	PG_RETURN_VOID();
}
