/*-------------------------------------------------------------------------
 *
 * src/account/kind.h
 *		Kinds: the rules that accounts live under.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_KIND_H
#define POINTSTORE_KIND_H

#include "nodes/pg_list.h"

#include "account/transition.h"
#include "ground/compat.h"

typedef struct Kind
{
	text	   *name;
	text	   *unit;
	bool		pure;
	bool		auto_open;
	bool		amount_required;	/* in an INSERT by hand */
	bool		lease_required; /* of who appends */
	bool		has_floor;
	bool		has_ceiling;
	int64		floor;
	int64		ceiling;
	List	   *commuting;		/* of text: event types */
	text	   *merge;			/* null: none */
	text	   *initial_state;	/* of its accounts; null: none */
	bool		strict;			/* an event type that no transition names is refused */
	const Transitions *transitions; /* null: none */
} Kind;

extern const Kind *pointstore_read_kind(text *name);
extern bool pointstore_is_kind(text *name);
extern const Kind *pointstore_require_kind(text *name);
pg_noreturn extern void pointstore_raise_no_kind(text *name);
extern void pointstore_forget_kinds(void);
extern bool pointstore_has_states(const Kind *kind);
extern bool pointstore_is_state_of(const Kind *kind, text *state);

#endif							/* POINTSTORE_KIND_H */
