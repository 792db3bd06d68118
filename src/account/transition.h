/*-------------------------------------------------------------------------
 *
 * src/account/transition.h
 *		State machines: which event may follow which state.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_TRANSITION_H
#define POINTSTORE_TRANSITION_H

/* A row of pointstore.transition; a state that is none is null. */
typedef struct Transition
{
	text	   *event_type;
	text	   *from_state;
	text	   *to_state;
} Transition;

/* Those of a kind, by event type and then by the state that they lead from. */
typedef struct Transitions
{
	int			n;
	Transition *rows;
} Transitions;

/* What they say of an event. */
typedef enum TransitionAnswer
{
	TRANSITION_UNNAMED,			/* no row names its type */
	TRANSITION_REFUSED,			/* rows name it, but not from that state */
	TRANSITION_ALLOWED
} TransitionAnswer;

extern void pointstore_sort_transitions(Transitions *transitions);
extern TransitionAnswer pointstore_follow(const Transitions *transitions, text *event_type, text *state, text **after);
extern bool pointstore_asks_no_transition(text *event_type);
extern bool pointstore_knows_state(const Transitions *transitions, text *state);
extern char *pointstore_allowed_types(const Transitions *transitions, text *state);
extern text *pointstore_some_state(text *state);
extern bool pointstore_same_state(text *a, text *b);

#endif							/* POINTSTORE_TRANSITION_H */
