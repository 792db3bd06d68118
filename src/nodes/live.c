/*-------------------------------------------------------------------------
 *
 * src/nodes/live.c
 *		Movements that are not finished, as the coordinator has them in memory.
 *
 * All that is needed to drive a movement is here: its phase and its steps' statuses, which are those of its rows as they were
 * committed, but for acknowledgements of tries, which nobody writes down before something else is written; where each step
 * is on its way; answers that are not applied yet. They are read by load.c, and brought on by advance.c.
 *
 * A step waits in one place: in the queue of its store, to be sent; for a time, to be asked again; or for the answer to what was
 * sent. A movement that is not to be driven any more is freed when nothing is under way for it.
 *
 * Everything here is of the session alone. The memory is one context; it ends with it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "nodes/live.h"

#define FIRST_NOTE 4			/* times that a step was not answered, then its row tells */

static int	compare_due(const pairingheap_node *a, const pairingheap_node *b, void *arg);
static int	compare_delayed(const pairingheap_node *a, const pairingheap_node *b, void *arg);
static void free_live(LiveSet *set, Live *live);
static void schedule(LiveSet *set, Live *live);
static void set_due(LiveSet *set, Live *live);

void
pointstore_lives_begin(LiveSet *set, StepQueue *(*queue_of) (const char *server))
{
	HASHCTL		control = {.keysize = sizeof(int64), .entrysize = sizeof(LiveEntry)};
	MemoryContext old;

	memset(set, 0, sizeof(LiveSet));
	set->queue_of = queue_of;
	set->context = control.hcxt = AllocSetContextCreate(TopMemoryContext, "pointstore movements", ALLOCSET_DEFAULT_SIZES);
	set->table = hash_create("pointstore movements", 1024, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	dlist_init(&set->dirty);
	old = MemoryContextSwitchTo(set->context);
	set->due = pairingheap_allocate(compare_due, NULL);
	set->delayed = pairingheap_allocate(compare_delayed, NULL);
	MemoryContextSwitchTo(old);
}

/* Forgets them all; nothing may be under way. */
void
pointstore_lives_end(LiveSet *set)
{
	MemoryContextDelete(set->context);
	memset(set, 0, sizeof(LiveSet));
}

static int
compare_due(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	TimestampTz left = pairingheap_const_container(Live, due, a)->wakes_at;
	TimestampTz right = pairingheap_const_container(Live, due, b)->wakes_at;

	return left < right ? 1 : left > right ? -1 : 0;
}

static int
compare_delayed(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	TimestampTz left = pairingheap_const_container(LiveStep, delayed, a)->next_try;
	TimestampTz right = pairingheap_const_container(LiveStep, delayed, b)->next_try;

	return left < right ? 1 : left > right ? -1 : 0;
}

Live *
pointstore_live_of(LiveSet *set, int64 number)
{
	LiveEntry  *entry = hash_search(set->table, &number, HASH_FIND, NULL);

	return entry == NULL ? NULL : entry->live;
}

Live *
pointstore_live_make(LiveSet *set, int64 number, int nsteps)
{
	MemoryContext old = MemoryContextSwitchTo(set->context);
	Live	   *live = palloc0(sizeof(Live));
	LiveEntry  *entry;
	bool		found;
	int			i;

	live->number = number;
	live->nsteps = nsteps;
	live->status = palloc0(sizeof(StepStatus) * 2 * nsteps);
	live->next_status = live->status + nsteps;
	live->local = palloc0(sizeof(bool) * nsteps);
	live->steps = palloc0(sizeof(LiveStep) * nsteps);
	for (i = 0; i < nsteps; i++)
		live->steps[i].live = live;
	entry = hash_search(set->table, &number, HASH_ENTER, &found);
	entry->live = live;
	MemoryContextSwitchTo(old);
	return live;
}

/* In the memory of the set, which is current. */
void
pointstore_live_replace(char **kept, const char *value)
{
	if (*kept != NULL)
		pfree(*kept);
	*kept = value == NULL ? NULL : pstrdup(value);
}

/* It is among those that are looked at next. */
void
pointstore_live_dirty(LiveSet *set, Live *live)
{
	if (live->is_dirty || live->is_gone || live->paused_until != 0)
		return;
	live->is_dirty = true;
	dlist_push_tail(&set->dirty, &live->dirty);
	set->ndirty++;
}

void
pointstore_live_clean(LiveSet *set, Live *live)
{
	if (!live->is_dirty)
		return;
	live->is_dirty = false;
	dlist_delete(&live->dirty);
	set->ndirty--;
}

/* As the protocol looks at it, with these statuses in that phase. */
void
pointstore_live_view(const Live *live, const StepStatus *status, MovementPhase phase, MovementView *view)
{
	view->protocol = live->protocol;
	view->phase = phase;
	view->gives_up = live->unbalanced || live->is_overdue;
	view->nsteps = live->nsteps;
	view->status = status;
	view->local = live->local;
	view->asks_all = live->asks_all;
}

bool
pointstore_live_is_undecided(MovementPhase phase)
{
	return phase == PHASE_TRYING || phase == PHASE_DOING;
}

/* It is not driven any more. */
void
pointstore_live_drop(LiveSet *set, Live *live)
{
	int			i;

	if (!live->is_gone)
		(void) hash_search(set->table, &live->number, HASH_REMOVE, NULL);
	pointstore_live_clean(set, live);
	live->is_gone = true;
	if (live->has_due)
		pairingheap_remove(set->due, &live->due);
	live->has_due = false;
	for (i = 0; i < live->nsteps; i++)
		if (live->steps[i].place != PLACE_SENT)
			pointstore_step_unplace(set, &live->steps[i]);
	if (live->sent == 0)
		free_live(set, live);
}

static void
free_live(LiveSet *set, Live *live)
{
	MemoryContext old = MemoryContextSwitchTo(set->context);
	int			i;

	for (i = 0; i < live->nsteps; i++)
	{
		LiveStep   *step = &live->steps[i];

		pointstore_live_replace(&step->account, NULL);
		pointstore_live_replace(&step->contents, NULL);
		pointstore_live_replace(&step->note, NULL);
		pointstore_live_replace(&step->told_error, NULL);
		pointstore_live_replace(&step->unit, NULL);
		pointstore_live_replace(&step->answer.unit, NULL);
		pointstore_live_replace(&step->answer.error, NULL);
	}
	pfree(live->movement_id);
	pfree(live->status);
	pfree(live->local);
	pfree(live->steps);
	pfree(live);
	MemoryContextSwitchTo(old);
}

/* A queue with nothing in it. */
void
pointstore_steps_begin(StepQueue *queue)
{
	dlist_init(&queue->decided);
	dlist_init(&queue->ready);
	queue->n = 0;
}

/* The next step of a queue, which is sent from now on; NULL: there is none. */
LiveStep *
pointstore_step_next(StepQueue *queue)
{
	dlist_head *list = dlist_is_empty(&queue->decided) ? &queue->ready : &queue->decided;
	LiveStep   *step;

	if (dlist_is_empty(list))
		return NULL;
	step = dlist_container(LiveStep, node, dlist_pop_head_node(list));
	queue->n--;
	step->place = PLACE_SENT;
	step->live->sent++;
	return step;
}

/* With what waits for a server that is gone: tries are refused, what may not be refused has failed. */
void
pointstore_steps_refuse(LiveSet *set, StepQueue *queue, const char *server)
{
	LiveStep   *step;

	while ((step = pointstore_step_next(queue)) != NULL)
	{
		LiveAnswer	answer = {.answer = step->verb == VERB_TRY ? ANSWER_REFUSED : ANSWER_FAILED, .sqlstate = "42704"};

		answer.error = psprintf("42704: there is no server \"%s\"", server);
		pointstore_step_answered(set, step, &answer);
	}
}

/* It waits neither in a queue nor for a time. */
void
pointstore_step_unplace(LiveSet *set, LiveStep *step)
{
	if (step->place == PLACE_READY && step->queue != NULL)
	{
		dlist_delete(&step->node);
		step->queue->n--;
	}
	else if (step->place == PLACE_DELAYED)
		pairingheap_remove(set->delayed, &step->delayed);
	step->place = PLACE_IDLE;
}

/* The error that the row of a step is to show: what it was refused by is kept when it is cancelled after that. */
const char *
pointstore_step_error(const LiveStep *step, StepStatus status)
{
	if (step->outcome == NULL)
		return step->note;
	if (step->outcome->error == NULL && step->told == STEP_REFUSED && (status == STEP_CANCELLED || status == STEP_UNDONE))
		return step->told_error;
	return step->outcome->error;
}

/* It is looked at when its pause is over; its deadline counts while nothing is decided. */
static void
set_due(LiveSet *set, Live *live)
{
	if (live->has_due)
		pairingheap_remove(set->due, &live->due);
	live->wakes_at = live->paused_until != 0 ? live->paused_until : pointstore_live_is_undecided(live->phase) && !live->is_overdue ? live->deadline : DT_NOEND;
	live->has_due = !TIMESTAMP_IS_NOEND(live->wakes_at);
	if (live->has_due)
		pairingheap_add(set->due, &live->due);
}

/* Nothing is done for it before that time. */
void
pointstore_live_pause(LiveSet *set, Live *live, TimestampTz until)
{
	int			i;

	live->paused_until = until;
	pointstore_live_clean(set, live);
	for (i = 0; i < live->nsteps; i++)
		if (live->steps[i].place != PLACE_SENT)
			pointstore_step_unplace(set, &live->steps[i]);
	set_due(set, live);
}

/* What a transaction that was committed has made of it. */
void
pointstore_live_follow(LiveSet *set, Live *live)
{
	MemoryContext old = MemoryContextSwitchTo(set->context);
	int			i;

	live->phase = live->next_phase;
	live->failures = 0;
	for (i = 0; i < live->nsteps; i++)
	{
		LiveStep   *step = &live->steps[i];
		LiveAnswer *outcome = step->outcome;

		live->status[i] = live->next_status[i];
		if (step->note != NULL || outcome != NULL)
		{
			const char *error = pointstore_step_error(step, live->status[i]);

			if (error != step->told_error)
				pointstore_live_replace(&step->told_error, error);
		}
		if (outcome != NULL)
		{
			step->attempts = 0;
			step->told = live->status[i];
			if (outcome->unit != NULL && outcome->unit != step->unit)
				pointstore_live_replace(&step->unit, outcome->unit);
		}
		pointstore_live_replace(&step->note, NULL);
		step->outcome = NULL;
		step->answer.is_there = false;
	}
	MemoryContextSwitchTo(old);
	if (live->is_finished)
		pointstore_live_drop(set, live);
	else
		schedule(set, live);
}

/*
 * After its phase or statuses have changed: what is to be asked of other stores goes into their queues, what need not be
 * asked any more out of them. Its own steps are asked while the movement is looked at.
 */
static void
schedule(LiveSet *set, Live *live)
{
	MemoryContext old;
	MovementView view;
	int			i;

	if (live->paused_until != 0)
		return;
	old = MemoryContextSwitchTo(set->context);
	pointstore_live_view(live, live->status, live->phase, &view);
	for (i = 0; i < live->nsteps; i++)
	{
		LiveStep   *step = &live->steps[i];
		MovementVerb verb;

		if (!pointstore_live_is_undecided(live->phase) && live->status[i] != STEP_PENDING)
			pointstore_live_replace(&step->contents, NULL);
		if (step->place == PLACE_SENT || live->local[i])
			continue;
		verb = pointstore_next_message(&view, i);
		if (verb == VERB_NONE || (step->place != PLACE_IDLE && verb != step->verb))
			pointstore_step_unplace(set, step);
		if (verb == VERB_NONE || step->place != PLACE_IDLE)
			continue;
		if (verb != step->verb)
			step->attempts = 0;
		step->verb = verb;
		step->place = PLACE_READY;
		dlist_push_tail(verb == VERB_TRY ? &step->queue->ready : &step->queue->decided, &step->node);
		step->queue->n++;
	}
	MemoryContextSwitchTo(old);
	set_due(set, live);
}

/* It is asked again at that time, not before. */
void
pointstore_step_delay(LiveSet *set, LiveStep *step, TimestampTz until)
{
	pointstore_step_unplace(set, step);
	step->next_try = until;
	step->place = PLACE_DELAYED;
	pairingheap_add(set->delayed, &step->delayed);
}

/* An answer has come to what was sent. It is applied when the movement is looked at. */
void
pointstore_step_answered(LiveSet *set, LiveStep *step, const LiveAnswer *answer)
{
	Live	   *live = step->live;
	MemoryContext old = MemoryContextSwitchTo(set->context);

	Assert(step->place == PLACE_SENT);
	step->place = PLACE_IDLE;
	live->sent--;
	if (live->is_gone && live->sent == 0)
		free_live(set, live);
	else if (!live->is_gone)
	{
		pointstore_live_replace(&step->answer.unit, answer->unit);
		pointstore_live_replace(&step->answer.error, answer->error);
		step->answer.answer = answer->answer;
		step->answer.event_id = answer->event_id;
		strlcpy(step->answer.sqlstate, answer->sqlstate, sizeof(step->answer.sqlstate));
		step->answer.is_there = true;
		pointstore_live_dirty(set, live);
	}
	MemoryContextSwitchTo(old);
}

/* What it was not answered by, which now and then its row tells. */
void
pointstore_step_note(LiveSet *set, LiveStep *step, const char *error)
{
	MemoryContext old;

	if (error == NULL || step->attempts < FIRST_NOTE || (step->attempts & (step->attempts - 1)) != 0)
		return;
	old = MemoryContextSwitchTo(set->context);
	pointstore_live_replace(&step->note, error);
	MemoryContextSwitchTo(old);
}

/* None has come, or one that says nothing: it is asked again. until 0: as soon as its store is. */
void
pointstore_step_unanswered(LiveSet *set, LiveStep *step, TimestampTz until, const char *error)
{
	Live	   *live = step->live;

	Assert(step->place == PLACE_SENT);
	step->place = PLACE_IDLE;
	live->sent--;
	step->attempts++;
	if (live->is_gone)
	{
		if (live->sent == 0)
			free_live(set, live);
		return;
	}
	pointstore_step_note(set, step, error);
	if (step->note != NULL)
		pointstore_live_dirty(set, live);
	if (until != 0)
		pointstore_step_delay(set, step, until);
	if (live->paused_until != 0)
		pointstore_step_unplace(set, step);
	schedule(set, live);
}

/* What has become due until now goes where it belongs. Whether something is still to become so, and then when. */
bool
pointstore_live_timers(LiveSet *set, TimestampTz now, TimestampTz *next)
{
	*next = DT_NOEND;
	while (!pairingheap_is_empty(set->due))
	{
		Live	   *live = pairingheap_container(Live, due, pairingheap_first(set->due));

		if (live->wakes_at > now)
		{
			*next = live->wakes_at;
			break;
		}
		(void) pairingheap_remove_first(set->due);
		live->has_due = false;
		live->paused_until = 0;
		live->is_overdue = live->deadline <= now;
		pointstore_live_dirty(set, live);
	}
	while (!pairingheap_is_empty(set->delayed))
	{
		LiveStep   *step = pairingheap_container(LiveStep, delayed, pairingheap_first(set->delayed));

		if (step->next_try > now)
		{
			*next = Min(*next, step->next_try);
			break;
		}
		pointstore_step_unplace(set, step);
		if (step->queue == NULL)
			pointstore_live_dirty(set, step->live);
		else
			schedule(set, step->live);
	}
	return *next != DT_NOEND;
}

/* What another store has acknowledged of undecided movements is not known any more: they are read again. */
void
pointstore_lives_forget(LiveSet *set, const StepQueue *queue)
{
	HASH_SEQ_STATUS status;
	LiveEntry  *entry;
	int			i;

	hash_seq_init(&status, set->table);
	while ((entry = hash_seq_search(&status)) != NULL)
		for (i = 0; i < entry->live->nsteps; i++)
			entry->live->is_stale |= entry->live->steps[i].queue == queue;
	set->has_stale = true;
}

/* How many there are. */
long
pointstore_lives_count(LiveSet *set)
{
	return hash_get_num_entries(set->table);
}

/*
 * Below what all movements of this store have finished: the lowest that has not, or may still come. False: it is not known
 * yet, for there may be some from before the first look, or some that cannot be driven.
 */
bool
pointstore_lives_lowest(LiveSet *set, int64 incarnation, int64 *of_incarnation, int64 *number)
{
	HASH_SEQ_STATUS status;
	LiveEntry  *entry;
	int			i;

	if (!set->is_loaded || set->sweeps || set->has_unsound)
		return false;
	*of_incarnation = incarnation;
	*number = set->cursor + 1;
	for (i = 0; i < set->ngaps; i++)
		*number = Min(*number, set->gaps[i]);
	hash_seq_init(&status, set->table);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		Live	   *live = entry->live;

		if (live->incarnation > *of_incarnation || (live->incarnation == *of_incarnation && live->number >= *number))
			continue;
		*of_incarnation = live->incarnation;
		*number = live->number;
	}
	return true;
}
