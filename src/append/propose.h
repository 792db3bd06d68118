/*-------------------------------------------------------------------------
 *
 * src/append/propose.h
 *		Proposed events: what a caller asks for.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_PROPOSE_H
#define POINTSTORE_PROPOSE_H

#include "fmgr.h"
#include "utils/jsonb.h"
#include "utils/snapshot.h"
#include "utils/timestamp.h"

#include "account/held.h"

struct BatchEvent;

/* Key of an event's metadata that is the store's: what was proposed (proposed.c). */
#define PROPOSED_KEY "pointstore.proposed"

/* What propose() has come to. */
typedef enum Proposing
{
	PROPOSING_DONE,				/* the proposal is complete: the rules come next */
	PROPOSING_DECIDED,			/* it has decided about the event itself */
	PROPOSING_AGAIN				/* it has waited for a twin: all is to be read again */
} Proposing;

/*
 * One event as its caller asks for it. Where that depends on what the store holds, propose()
 * fills in the rest from the account's state, which stays as it is until the event is
 * written, or decides itself.
 */
typedef struct ProposedEvent
{
	text	   *aggregate_id;
	text	   *event_type;
	Jsonb	   *payload;
	Jsonb	   *metadata;		/* null = none, as request_id and kind */
	text	   *request_id;
	text	   *kind;
	text	   *lease_tokens;	/* pointstore.lease_token of who has submitted it; null: this session's counts */
	int64		amount;
	int64		held;			/* change of held */
	int64		incoming;		/* change of incoming */
	int64		expected_version;
	int64		floor;
	int64		cause_id;
	int64		lease_token;
	TimestampTz occurred_at;
	bool		has_expected;
	bool		has_floor;
	bool		has_cause;
	bool		has_occurred;
	bool		has_lease_token;
	bool		lease_if_asked; /* its token is for an account that asks for one; others do not look at it */
	bool		any_lease;		/* passes without the account's lease */
	bool		has_payload_version;
	bool		any_amount;		/* left out in an INSERT: a repeat is not compared by it */
	bool		any_floor;		/* passes below the floor */
	bool		any_ceiling;	/* passes above the ceiling */
	bool		any_transition; /* passes in every state, and leads on where that state allows it */
	bool		hybrid_only;	/* its account has a row of balance */
	bool		any_status;		/* passes on a frozen account */
	bool		kind_opens;		/* the kind is that of an account which it opens, no other's */
	bool		may_merge;		/* where its expected_version is stale */
	bool		has_merge_limit;
	bool		is_merged;		/* expected_version was stale, and does not count any more */
	bool		is_check;		/* no event: a condition (condition.c) */
	bool		is_linked;		/* has its leg also without a request_id, and the first leg as its cause */
	int16		leg;
	int16		legs_here;		/* of an event of a part: those that its request has on its account */
	int16		payload_version;
	int			followers;		/* events of its request that come after it, and next to it */
	int			element;		/* of append_events(), from 1; 0: none */
	int			merge_limit;	/* pointstore.merge_limit of who has submitted it; not given: this session's counts */
	Oid			role;			/* that appends it; InvalidOid: the session's role */
	Hold	   *hold;			/* whose step it is: its row is written with it */
	Proposing	(*propose) (struct BatchEvent *event, Snapshot snapshot);
	void	   *propose_arg;
	Jsonb	   *told;			/* what propose() is told of that on another node (spread.c); null: nothing */
	const struct ProposedEvent *proposed;	/* null, or what it was before a function of the user's has merged it */
} ProposedEvent;

extern void pointstore_read_arguments(FunctionCallInfo fcinfo, ProposedEvent *event);
extern void pointstore_check_metadata(Jsonb *metadata);
extern bool pointstore_is_reserved_type(text *event_type);
extern void pointstore_check_event(const ProposedEvent *event);
extern void pointstore_make_request(ProposedEvent *events, int n, text *request_id);
extern void pointstore_link_legs(ProposedEvent *events, int n);
extern ProposedEvent *pointstore_read_elements(Jsonb *elements, text *request_id, bool balanced, int *nchecks);
extern void pointstore_read_told(ProposedEvent *event, JsonbValue *told, bool is_part);
extern int64 pointstore_told_number(const ProposedEvent *event, const char *key, int64 otherwise);
extern void pointstore_read_changes(ProposedEvent *event, Jsonb *changes, const char *function);
extern bool pointstore_json_boolean(const char *key, JsonbValue *value);
extern text *pointstore_json_text(const char *key, JsonbValue *value);
extern int64 pointstore_json_bigint(const char *key, JsonbValue *value);
extern void pointstore_element_context(void *arg);
extern int	pointstore_payload_version(const ProposedEvent *event);

#endif							/* POINTSTORE_PROPOSE_H */
