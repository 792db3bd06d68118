/*
 * test/unit/judge.c
 *		The rules of an append by themselves: a table of cases, and the order in which
 *		they decide.
 */
#include "append/judge.c"
#include "account/transition.c"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(judge_cases);
PG_FUNCTION_INFO_V1(judge_order);

/* An event on an account, and what is decided about it. */
typedef struct Case
{
	const char *name;
	Account		account;
	ProposedEvent event;
	const Kind *named;
	Decision	decision;		/* outcome, version, balance, available, limit */
	int64		held;			/* of the account that it passes on */
	int64		incoming;
	int64		expired;
	const char *state;			/* likewise; null: none */
	const char *allowed;		/* of a transition that is refused */
} Case;

#define MOST PG_INT64_MAX
#define LEAST PG_INT64_MIN

/* an account at version 5 that has 100, of a kind */
#define HAS(of) .exists = true, .kind = (of), .kind_name = (of)->name, .version = 5, .balance = 100
/* what passes as version 6 */
#define PASSES(has, can_use) {OUTCOME_APPENDED, .version = 6, .balance = (has), .available = (can_use)}
/* what is refused, of such an account */
#define REFUSED(why, ...) {OUTCOME_ ## why, .version = 5, .balance = 100, .available = 100, __VA_ARGS__}
#define TYPE(name) cstring_to_text(name)
#define MISSING(why, ...) {OUTCOME_ ## why, __VA_ARGS__}

static const char *const names[] = {
	[OUTCOME_APPENDED] = "appended", [OUTCOME_VERSION_CONFLICT] = "version_conflict",
	[OUTCOME_INSUFFICIENT_BALANCE] = "insufficient_balance", [OUTCOME_BALANCE_LIMIT] = "balance_limit",
	[OUTCOME_ACCOUNT_FROZEN] = "account_frozen", [OUTCOME_ACCOUNT_CLOSED] = "account_closed",
	[OUTCOME_ACCOUNT_MISSING] = "account_missing", [OUTCOME_LEASE_LOST] = "lease_lost", [OUTCOME_OVERFLOW] = "overflow",
	[OUTCOME_WRONG_KIND] = "wrong_kind", [OUTCOME_NO_KIND] = "no_kind", [OUTCOME_PURE] = "pure",
	[OUTCOME_TRANSITION_NOT_ALLOWED] = "transition_not_allowed",
	[OUTCOME_STRAY_EVENTS] = "stray_events", [OUTCOME_CHANGE_WAITS] = "change_waits"
};

static Kind plain = {.auto_open = true, .has_floor = true};
static Kind free_kind = {.auto_open = true};
static Kind narrow = {.auto_open = true, .has_floor = true, .floor = 10, .has_ceiling = true, .ceiling = 200};
static Kind by_hand = {.has_floor = true};
static Kind pure_kind = {.auto_open = true, .has_floor = true, .pure = true};
static Transition rows[8];
static Transitions transitions = {.rows = rows};
static Kind flow = {.auto_open = true, .has_floor = true, .transitions = &transitions};
static Kind strict = {.auto_open = true, .has_floor = true, .strict = true, .transitions = &transitions};
static Kind strict_of_nothing = {.auto_open = true, .has_floor = true, .strict = true};
static Hold open_hold = {.status = HOLD_OPEN};
static Hold expired_hold = {.status = HOLD_OPEN, .has_expired = true};

bool
pointstore_same_text(text *a, text *b)
{
	return strcmp(text_to_cstring(a), text_to_cstring(b)) == 0;
}

int
pointstore_place(text *name, const char *const *of, int n)
{
	int			i = 0;

	while (i < n && strcmp(of[i], text_to_cstring(name)) != 0)
		i++;
	return i < n ? i : -1;
}

char *
pointstore_cstring(text *name)
{
	return text_to_cstring(name);
}

/* A row of the transitions; '' as in the table. */
static void
add_row(const char *from, const char *type, const char *to)
{
	rows[transitions.n].event_type = cstring_to_text(type);
	rows[transitions.n].from_state = pointstore_some_state(cstring_to_text(from));
	rows[transitions.n++].to_state = pointstore_some_state(cstring_to_text(to));
}

static void
name_kinds(void)
{
	transitions.n = 0;
	add_row("open", "Close", "closed");
	add_row("", "Open", "open");
	add_row("closed", "Open", "open");
	add_row("open", "Forget", "");
	add_row("open", "HoldExpired", "closed");
	add_row("ope", "Close", "never");
	add_row("open", "Clos", "never");
	pointstore_sort_transitions(&transitions);
	flow.name = cstring_to_text("flow");
	strict.name = cstring_to_text("strict");
	strict_of_nothing.name = cstring_to_text("strict of nothing");
	plain.name = cstring_to_text("plain");
	free_kind.name = cstring_to_text("free");
	narrow.name = cstring_to_text("narrow");
	by_hand.name = cstring_to_text("by hand");
	pure_kind.name = cstring_to_text("pure");
}

/* Adds to the failures what is decided otherwise than it should. */
static void
check(const Case *c, StringInfo failures)
{
	Account		account;
	Account		after;
	Decision	decision;

	memcpy(&account, &c->account, sizeof(Account));
	decision = pointstore_judge(&c->event, &account, c->named, &after);

	if (decision.outcome != c->decision.outcome || decision.version != c->decision.version ||
		decision.balance != c->decision.balance || decision.available != c->decision.available ||
		decision.limit != c->decision.limit || decision.applied_version != c->decision.applied_version)
		appendStringInfo(failures, "%s: %s, version " INT64_FORMAT ", balance " INT64_FORMAT ", available " INT64_FORMAT ", limit " INT64_FORMAT "\n",
						 c->name, names[decision.outcome], decision.version, decision.balance, decision.available, decision.limit);
	if (decision.outcome == OUTCOME_APPENDED &&
		(after.version != decision.version || after.balance != decision.balance || after.held != c->held || after.incoming != c->incoming ||
		 after.expired != c->expired || after.nevents != account.nevents + 1 ||
		 after.kind != (account.kind ? account.kind : c->named)))
		appendStringInfo(failures, "%s: the account does not move on as it should\n", c->name);
	if (decision.outcome == OUTCOME_APPENDED &&
		(!pointstore_same_state(after.state, c->state ? cstring_to_text(c->state) : NULL) || decision.state != after.state))
		appendStringInfo(failures, "%s: state %s\n", c->name, after.state ? text_to_cstring(after.state) : "none");
	if (decision.outcome == OUTCOME_TRANSITION_NOT_ALLOWED &&
		(strcmp(decision.asked, c->allowed) != 0 || strcmp(decision.stored, c->account.state ? text_to_cstring(c->account.state) : "") != 0))
		appendStringInfo(failures, "%s: in state \"%s\" %s\n", c->name, decision.stored, decision.asked);
	if (memcmp(&account, &c->account, sizeof(Account)) != 0)
		appendStringInfo(failures, "%s: the account that was judged has changed\n", c->name);
}

/* judge_cases(): what the rules decide otherwise than the table says; nothing. */
Datum
judge_cases(PG_FUNCTION_ARGS)
{
	StringInfoData failures;
	int			i;

	initStringInfo(&failures);
	name_kinds();
	{
		text	   *other = cstring_to_text("other");
		text	   *open = cstring_to_text("open");
		const Case	cases[] = {
			{"a credit", {HAS(&plain)}, {.amount = 7}, .decision = PASSES(107, 107)},
			{"an event that moves nothing", {HAS(&plain)}, {0}, .decision = PASSES(100, 100)},
			{"all there is", {HAS(&plain)}, {.amount = -100}, .decision = PASSES(0, 0)},
			{"more than there is", {HAS(&plain)}, {.amount = -101}, .decision = REFUSED(INSUFFICIENT_BALANCE)},
			{"more, passing below the floor", {HAS(&plain)}, {.amount = -101, .any_floor = true}, .decision = PASSES(-1, -1)},
			{"more, without a floor", {HAS(&free_kind)}, {.amount = -101}, .decision = PASSES(-1, -1)},

			{"down to the kind's floor", {HAS(&narrow)}, {.amount = -90}, .decision = PASSES(10, 10)},
			{"below the kind's floor", {HAS(&narrow)}, {.amount = -91}, .decision = REFUSED(INSUFFICIENT_BALANCE, .limit = 10)},
			{"below the call's larger floor", {HAS(&narrow)}, {.amount = -81, .has_floor = true, .floor = 20}, .decision = REFUSED(INSUFFICIENT_BALANCE, .limit = 20)},
			{"the call's smaller floor does not count", {HAS(&narrow)}, {.amount = -91, .has_floor = true, .floor = -500}, .decision = REFUSED(INSUFFICIENT_BALANCE, .limit = 10)},
			{"the call's floor alone", {HAS(&free_kind)}, {.amount = -51, .has_floor = true, .floor = 50}, .decision = REFUSED(INSUFFICIENT_BALANCE, .limit = 50)},
			{"a credit below the floor", {HAS(&narrow), .held = 95}, {.amount = 1}, .decision = PASSES(101, 6), .held = 95},
			{"nothing moved below the floor", {HAS(&narrow), .held = 95}, {0}, .decision = PASSES(100, 5), .held = 95},

			{"up to the ceiling", {HAS(&narrow)}, {.amount = 100}, .decision = PASSES(200, 200)},
			{"above the ceiling", {HAS(&narrow)}, {.amount = 101}, .decision = REFUSED(BALANCE_LIMIT, .limit = 200)},
			{"a debit above the ceiling", {.exists = true, .kind = &narrow, .kind_name = narrow.name, .balance = 300}, {.amount = -1}, .decision = {OUTCOME_APPENDED, .version = 1, .balance = 299, .available = 299}},

			{"what is held is not available", {HAS(&plain), .held = 40}, {.amount = -61}, .decision = {OUTCOME_INSUFFICIENT_BALANCE, .version = 5, .balance = 100, .available = 60}},
			{"what has expired is", {HAS(&plain), .held = 40, .expired = 40}, {.amount = -61}, .decision = PASSES(39, 39), .held = 40, .expired = 40},
			{"a hold of all there is", {HAS(&plain)}, {.held = 100, .hold = &open_hold}, .decision = PASSES(100, 0), .held = 100},
			{"a hold of more", {HAS(&plain)}, {.held = 101, .hold = &open_hold}, .decision = REFUSED(INSUFFICIENT_BALANCE)},
			{"a confirmed hold", {HAS(&plain), .held = 40}, {.amount = -40, .held = -40, .hold = &open_hold, .any_floor = true}, .decision = PASSES(60, 60)},
			{"an expired one is given back once", {HAS(&plain), .held = 40, .expired = 40}, {.held = -40, .hold = &expired_hold}, .decision = PASSES(100, 100)},
			{"a hold on a pure account", {HAS(&pure_kind), .pure = true}, {.held = 1, .hold = &open_hold}, .decision = REFUSED(PURE)},

			{"a debit is tried", {HAS(&plain)}, {.held = 100, .hybrid_only = true}, .decision = PASSES(100, 0), .held = 100},
			{"a debit of more", {HAS(&plain)}, {.held = 101, .hybrid_only = true}, .decision = REFUSED(INSUFFICIENT_BALANCE)},
			{"a credit is tried", {HAS(&narrow)}, {.incoming = 100, .hybrid_only = true}, .decision = PASSES(100, 100), .incoming = 100},
			{"a credit above the ceiling", {HAS(&narrow)}, {.incoming = 101, .hybrid_only = true}, .decision = REFUSED(BALANCE_LIMIT, .limit = 200)},
			{"up to the room that is left beside what is incoming", {HAS(&narrow), .incoming = 60}, {.amount = 40}, .decision = PASSES(140, 140), .incoming = 60},
			{"more than that", {HAS(&narrow), .incoming = 60}, {.amount = 41}, .decision = REFUSED(BALANCE_LIMIT, .limit = 200)},
			{"another credit of more", {HAS(&narrow), .incoming = 60}, {.incoming = 41}, .decision = REFUSED(BALANCE_LIMIT, .limit = 200)},
			{"what is incoming is not there to be spent", {HAS(&plain), .incoming = 60}, {.amount = -101}, .decision = REFUSED(INSUFFICIENT_BALANCE)},
			{"a debit beside what is incoming", {HAS(&narrow), .incoming = 500}, {.amount = -1}, .decision = PASSES(99, 99), .incoming = 500},
			{"a credit is confirmed above a ceiling that has come down", {HAS(&narrow), .incoming = 150}, {.amount = 150, .incoming = -150, .any_ceiling = true}, .decision = PASSES(250, 250)},
			{"and without that it is not", {HAS(&narrow), .incoming = 150}, {.amount = 150, .incoming = -150}, .decision = REFUSED(BALANCE_LIMIT, .limit = 200)},
			{"what was incoming is given back", {HAS(&narrow), .incoming = 150}, {.incoming = -150}, .decision = PASSES(100, 100)},
			{"a step on a pure account", {HAS(&pure_kind), .pure = true}, {.incoming = 1, .hybrid_only = true}, .decision = REFUSED(PURE)},
			{"a step that would open one", {0}, {.incoming = 1, .hybrid_only = true}, &pure_kind, MISSING(PURE)},
			{"incoming without room", {HAS(&free_kind), .incoming = 5}, {.incoming = MOST - 104}, .decision = REFUSED(OVERFLOW)},
			{"a credit without room beside what is incoming", {HAS(&free_kind), .incoming = MOST - 100}, {.amount = 1}, .decision = REFUSED(OVERFLOW)},
			{"a credit is confirmed at the end of bigint", {HAS(&free_kind), .incoming = MOST - 100}, {.amount = MOST - 100, .incoming = 100 - MOST, .any_ceiling = true}, .decision = PASSES(MOST, MOST)},
			{"a debit that could not be confirmed", {.exists = true, .kind = &free_kind, .kind_name = free_kind.name, .balance = LEAST + 5}, {.held = 6, .hybrid_only = true}, .decision = {OUTCOME_OVERFLOW, .balance = LEAST + 5, .available = LEAST + 5}},

			{"the version that is expected", {HAS(&plain)}, {.has_expected = true, .expected_version = 5}, .decision = PASSES(100, 100)},
			{"another version", {HAS(&plain)}, {.has_expected = true, .expected_version = 4}, .decision = REFUSED(VERSION_CONFLICT)},
			{"an account that is to be new", {HAS(&plain)}, {.has_expected = true}, .decision = REFUSED(VERSION_CONFLICT)},

			{"a balance without room", {.exists = true, .kind = &plain, .kind_name = plain.name, .balance = MOST}, {.amount = 1}, .decision = {OUTCOME_OVERFLOW, .balance = MOST, .available = MOST}},
			{"a debt without room", {.exists = true, .kind = &free_kind, .kind_name = free_kind.name, .balance = LEAST}, {.amount = -1}, .decision = {OUTCOME_OVERFLOW, .balance = LEAST, .available = LEAST}},
			{"a version without room", {.exists = true, .kind = &plain, .kind_name = plain.name, .version = MOST}, {0}, .decision = {OUTCOME_OVERFLOW, .version = MOST}},
			{"what is held without room", {.exists = true, .kind = &free_kind, .kind_name = free_kind.name, .held = MOST}, {.held = 1, .hold = &open_hold}, .decision = {OUTCOME_OVERFLOW, .available = -MOST}},
			{"available is at least what bigint holds", {.exists = true, .kind = &free_kind, .kind_name = free_kind.name, .balance = LEAST, .held = 5}, {0}, .decision = {OUTCOME_APPENDED, .version = 1, .balance = LEAST, .available = LEAST}, .held = 5},
			{"and at most", {.exists = true, .kind = &free_kind, .kind_name = free_kind.name, .balance = MOST, .held = -5}, {0}, .decision = {OUTCOME_APPENDED, .version = 1, .balance = MOST, .available = MOST}, .held = -5},

			{"a closed account", {HAS(&plain), .status = STATUS_CLOSED}, {.amount = 1, .any_status = true}, .decision = REFUSED(ACCOUNT_CLOSED)},
			{"a frozen account", {HAS(&plain), .status = STATUS_FROZEN}, {.amount = 1}, .decision = REFUSED(ACCOUNT_FROZEN)},
			{"what passes on a frozen account", {HAS(&plain), .status = STATUS_FROZEN}, {.any_status = true}, .decision = PASSES(100, 100)},

			{"the kind that it has", {HAS(&plain)}, {.kind = plain.name}, .decision = PASSES(100, 100)},
			{"another kind", {HAS(&plain)}, {.kind = other}, .decision = REFUSED(WRONG_KIND)},
			{"a kind that opens other accounts", {HAS(&plain)}, {.kind = narrow.name, .kind_opens = true}, &narrow, PASSES(100, 100)},
			{"such a kind that there is not", {HAS(&plain)}, {.kind = other, .kind_opens = true}, .decision = REFUSED(NO_KIND)},
			{"an account whose kind is gone", {.exists = true, .kind_name = other, .version = 5, .balance = 100}, {0}, .decision = REFUSED(NO_KIND)},

			{"the first event opens an account", {0}, {.amount = 3}, &plain, {OUTCOME_APPENDED, .version = 1, .balance = 3, .available = 3}},
			{"of the kind that is named", {0}, {.amount = 3, .kind = free_kind.name}, &free_kind, {OUTCOME_APPENDED, .version = 1, .balance = 3, .available = 3}},
			{"by expecting none", {0}, {.has_expected = true}, &plain, {OUTCOME_APPENDED, .version = 1}},
			{"not of a kind that there is not", {0}, {.kind = other}, NULL, MISSING(NO_KIND)},
			{"nor by a hold, as a pure one", {0}, {.held = 1, .hold = &open_hold, .any_floor = true}, &pure_kind, MISSING(PURE)},
			{"nor of a kind whose accounts are opened by hand", {0}, {0}, &by_hand, MISSING(ACCOUNT_MISSING)},
			{"nor where there are events", {.has_stray_events = true, .stray_version = 9}, {0}, &plain, MISSING(STRAY_EVENTS, .applied_version = 9)},
			{"nor with what it would not have", {0}, {.amount = -1}, &plain, MISSING(INSUFFICIENT_BALANCE)},
			{"a second event of the batch that opens it", {.kind = &plain, .kind_name = plain.name, .version = 1, .balance = 3, .nevents = 1}, {.amount = -3}, &plain, {OUTCOME_APPENDED, .version = 2}},
			{"and one that names another kind", {.kind = &plain, .kind_name = plain.name, .version = 1, .nevents = 1}, {.kind = other}, NULL, MISSING(WRONG_KIND, .version = 1)},

			{"a lease that is not the caller's", {HAS(&plain), .lease_lost = true, .lease_token = 17, .lease_shown = 5}, {.amount = 1}, .decision = REFUSED(LEASE_LOST, .limit = 17)},
			{"a lease that is", {HAS(&plain), .lease_kept = true, .lease_token = 17}, {.amount = 1}, .decision = PASSES(101, 101)},
			{"a named type from a state that it is named with", {HAS(&flow), .state = open}, {.event_type = TYPE("Close")}, .decision = PASSES(100, 100), .state = "closed"},
			{"the same from no state", {HAS(&flow)}, {.event_type = TYPE("Open")}, .decision = PASSES(100, 100), .state = "open"},
			{"and to none", {HAS(&flow), .state = open}, {.event_type = TYPE("Forget")}, .decision = PASSES(100, 100)},
			{"from another state", {HAS(&flow), .state = open}, {.event_type = TYPE("Open")}, .decision = REFUSED(TRANSITION_NOT_ALLOWED), .allowed = "Clos,Close,Forget,HoldExpired"},
			{"from a state that no row names", {HAS(&flow), .state = cstring_to_text("openly")}, {.event_type = TYPE("Close")}, .decision = REFUSED(TRANSITION_NOT_ALLOWED), .allowed = ""},
			{"before the first event", {0}, {.event_type = TYPE("Close")}, &flow, MISSING(TRANSITION_NOT_ALLOWED), .allowed = "Open"},
			{"the first event", {0}, {.event_type = TYPE("Open")}, &flow, {OUTCOME_APPENDED, .version = 1}, .state = "open"},
			{"a type that no row names leaves the state alone", {HAS(&flow), .state = open}, {.event_type = TYPE("Closed")}, .decision = PASSES(100, 100), .state = "open"},
			{"and one before all of them", {HAS(&flow), .state = open}, {.event_type = TYPE("A")}, .decision = PASSES(100, 100), .state = "open"},
			{"a strict kind refuses it", {HAS(&strict), .state = open}, {.event_type = TYPE("Closed")}, .decision = REFUSED(TRANSITION_NOT_ALLOWED), .allowed = "Clos,Close,Forget,HoldExpired"},
			{"and takes what is named", {HAS(&strict), .state = open}, {.event_type = TYPE("Close")}, .decision = PASSES(100, 100), .state = "closed"},
			{"one that names nothing refuses all", {HAS(&strict_of_nothing)}, {.event_type = TYPE("Close")}, .decision = REFUSED(TRANSITION_NOT_ALLOWED), .allowed = ""},
			{"but what asks for no transition", {HAS(&strict_of_nothing)}, {.event_type = TYPE("BalanceAdjusted")}, .decision = PASSES(100, 100)},
			{"what passes in every state stays in one that does not lead on", {HAS(&strict), .state = open}, {.event_type = TYPE("Open"), .any_transition = true}, .decision = PASSES(100, 100), .state = "open"},
			{"and goes on from one that does", {HAS(&strict), .state = open}, {.event_type = TYPE("Close"), .any_transition = true}, .decision = PASSES(100, 100), .state = "closed"},
			{"whatever rows say of it", {HAS(&strict), .state = open}, {.event_type = TYPE("HoldExpired")}, .decision = PASSES(100, 100), .state = "open"},
			{"nor does a balance before its event", {HAS(&strict), .state = open}, {.amount = 1}, .decision = PASSES(101, 101), .state = "open"},
			{"a kind without transitions leaves the state alone", {HAS(&plain), .state = open}, {.event_type = TYPE("Close")}, .decision = PASSES(100, 100), .state = "open"},

			{"a change by hand that waits", {HAS(&plain), .waits = true}, {0}, .decision = REFUSED(CHANGE_WAITS)},
		};

		for (i = 0; i < lengthof(cases); i++)
			check(&cases[i], &failures);
	}
	PG_RETURN_TEXT_P(cstring_to_text(failures.data));
}

/* judge_order(): the outcomes of an event that breaks every rule, as one after the other is kept. */
Datum
judge_order(PG_FUNCTION_ARGS)
{
	StringInfoData order;
	Account		account = {
		.exists = true, .waits = true, .pure = true, .status = STATUS_CLOSED, .lease_lost = true, .version = 5, .balance = MOST
	};
	ProposedEvent event = {
		.event_type = cstring_to_text("Close"), .amount = 1, .held = 1, .hold = &open_hold, .kind = cstring_to_text("other"),
		.has_expected = true, .has_floor = true, .floor = MOST
	};
	Account		after;
	int			rule;

	initStringInfo(&order);
	name_kinds();
	account.kind_name = narrow.name;
	narrow.transitions = &transitions;
	for (rule = 0; rule <= 12; rule++)
	{
		appendStringInfo(&order, "%s%s", rule > 0 ? " " : "", names[pointstore_judge(&event, &account, NULL, &after).outcome]);
		if (rule == 0)
			account.waits = false;
		else if (rule == 1)
			account.pure = false;
		else if (rule == 2)
			account.kind = &narrow;
		else if (rule == 3)
			account.status = STATUS_FROZEN;
		else if (rule == 4)
			account.status = STATUS_OPEN;
		else if (rule == 5)
			event.kind = NULL;
		else if (rule == 6)
			account.lease_lost = false;
		else if (rule == 7)
			event.has_expected = false;
		else if (rule == 8)
			account.state = cstring_to_text("open");
		else if (rule == 9)
			account.balance = MOST - 1;
		else if (rule == 10)
		{
			event.has_floor = false;
			event.held = 0;
		}
		else if (rule == 11)
			account.balance = 0;
	}
	narrow.transitions = NULL;
	PG_RETURN_TEXT_P(cstring_to_text(order.data));
}
