/*-------------------------------------------------------------------------
 *
 * src/account/transition.c
 *		State machines: which event may follow which state.
 *
 * A kind's rows of pointstore.transition as a table in memory, which kind.c reads
 * and keeps. To look something up in it is pure: nothing is read, waited
 * for or raised. An event type that rows name is allowed from the states that they name
 * it with, and from no other; what becomes of a type that no row names is the kind's
 * affair. A state that is none, before the first event of an account whose kind has no
 * initial_state, is a null pointer here and '' in the rows.
 *
 * Types are compared by their bytes. There are few rows: they are sorted once, and
 * halved from then on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "account/transition.h"
#include "ground/name.h"

/* bytes of a list of types that is told: a refusal's texts are no longer (message.c) */
#define TOLD_BYTES 500

static int	compare_rows(const void *a, const void *b);
static int	compare_texts(text *a, text *b);

/* Event types of ours that bring to an end what was begun, or repair: they ask for no transition, and no row names them. */
static const char *const free_types[] = {"HoldExpired", "BalanceAdjusted", "MovementConfirmed", "MovementCancelled"};

/* Brings the rows into their order. */
void
pointstore_sort_transitions(Transitions *transitions)
{
	if (transitions->n > 1)
		qsort(transitions->rows, transitions->n, sizeof(Transition), compare_rows);
}

static int
compare_rows(const void *a, const void *b)
{
	const Transition *x = a;
	const Transition *y = b;
	int			order = compare_texts(x->event_type, y->event_type);

	return order != 0 ? order : compare_texts(x->from_state, y->from_state);
}

/* By their bytes; a null comes first. */
static int
compare_texts(text *a, text *b)
{
	Size		x = a == NULL ? 0 : VARSIZE_ANY_EXHDR(a);
	Size		y = b == NULL ? 0 : VARSIZE_ANY_EXHDR(b);
	int			order = x == 0 || y == 0 ? 0 : memcmp(VARDATA_ANY(a), VARDATA_ANY(b), Min(x, y));

	return order != 0 ? order : (x > y) - (x < y);
}

/* What the rows say of an event of that type in that state; allowed: *after is the state that it leads to. */
TransitionAnswer
pointstore_follow(const Transitions *transitions, text *event_type, text *state, text **after)
{
	Transition	wanted = {.event_type = event_type, .from_state = state};
	int			low = 0;
	int			high = transitions->n;
	const Transition *rows = transitions->rows;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (compare_rows(&rows[middle], &wanted) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < transitions->n && compare_rows(&rows[low], &wanted) == 0)
	{
		*after = rows[low].to_state;
		return TRANSITION_ALLOWED;
	}
	/* rows of the type lie next to each other: where there are any, one is here or right before */
	if ((low < transitions->n && compare_texts(rows[low].event_type, event_type) == 0) ||
		(low > 0 && compare_texts(rows[low - 1].event_type, event_type) == 0))
		return TRANSITION_REFUSED;
	return TRANSITION_UNNAMED;
}

/* Whether events of that type pass in every state. */
bool
pointstore_asks_no_transition(text *event_type)
{
	return pointstore_place(event_type, free_types, lengthof(free_types)) >= 0;
}

/* Whether a row leads from a state or to it. */
bool
pointstore_knows_state(const Transitions *transitions, text *state)
{
	int			i;

	for (i = 0; i < transitions->n; i++)
		if (compare_texts(transitions->rows[i].from_state, state) == 0 || compare_texts(transitions->rows[i].to_state, state) == 0)
			return true;
	return false;
}

/* The event types that rows name with a state, separated by commas; so many of them as are told. */
char *
pointstore_allowed_types(const Transitions *transitions, text *state)
{
	StringInfoData types;
	int			i;

	initStringInfo(&types);
	for (i = 0; i < transitions->n && types.len < TOLD_BYTES; i++)
		if (compare_texts(transitions->rows[i].from_state, state) == 0)
			appendStringInfo(&types, "%s%s", types.len > 0 ? "," : "", pointstore_cstring(transitions->rows[i].event_type));
	if (types.len >= TOLD_BYTES)
	{
		while (types.len > 0 && types.data[types.len - 1] != ',')
			types.len--;
		types.data[types.len] = '\0';
		appendStringInfoString(&types, "...");
	}
	return types.data;
}

/* A state as it is kept: null where it is none. */
text *
pointstore_some_state(text *state)
{
	return state == NULL || VARSIZE_ANY_EXHDR(state) == 0 ? NULL : state;
}

/* Whether two states are the same, none among them. */
bool
pointstore_same_state(text *a, text *b)
{
	return compare_texts(a, b) == 0;
}
