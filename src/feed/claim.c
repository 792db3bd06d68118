/*-------------------------------------------------------------------------
 *
 * src/feed/claim.c
 *		Claims: the events of a slot, or of an account that is retried, for one member at a time.
 *
 * A claim reads first and locks afterwards: slots, accounts that are set aside and events in one
 * snapshot, without a lock that anybody would find in the table, so that one that finds nothing
 * writes nothing. Then the slot's row is locked, if nobody has it and it is still the version
 * that was read: then all else is as it was read too, for whatever belongs to a slot changes together
 * with its row. While a session reads for a slot it holds a lock in memory alone, and others look
 * at other slots.
 *
 * Up to where nothing was found the session remembers; into the table that goes when it has become far.
 *
 * Upcasters are called before the slot's row is locked, where that can be: they are users' code. Accounts whose events
 * they fail on are set aside ahead of the slot, and what is left is claimed; those before the first of that are passed.
 * What blames no event ends the claim: for a while the session takes other slots first, and of this one new events.
 *
 * A claim that was lost, by a lease that ended and somebody else who claims, blames an event only
 * where that was delivered alone. So what was delivered together comes one by one after that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "feed/claim.h"
#include "feed/decision.h"
#include "feed/delivery.h"
#include "feed/number.h"
#include "feed/retry.h"
#include "feed/signal.h"
#include "feed/slot.h"
#include "ground/compat.h"
#include "ground/placed.h"
#include "ground/pointstore.h"
#include "ground/step.h"

#define IDLE_STEP 1000			/* positions in which nothing was found, until the checkpoint moves over them */
#define GUARDED_PAUSE 100		/* ms, until another look at a slot that another session looks at */
#define SHUNNED 1000			/* ms, in which other slots come before one of which an upcaster has raised what blames no event */
#define FREED_PAUSE 1000		/* ms, the same where nobody tells that a slot is given back, or a subscription resumed */
#define MOVED_AT_ONCE 64		/* slots that are idle, whose checkpoint one look moves: each costs a lock */
#define LOOKS 3					/* where slots were another's when they were to be locked */
#define CLAIM_LOCK_KIND 14		/* field of an advisory lock tag, which users' numbers do not reach */

/* A look for something to claim. */
typedef struct Look
{
	Subscription *subscription;
	text	   *member;			/* null: only to see whether there is something */
	int			max_events;
	Slot	   *slots;
	int64	   *after;			/* of each slot: nothing is known of later events */
	bool	   *have_some;
	int64		head;
	TimestampTz now;
	int64		looked_at;		/* positions in all */
	bool		moved;			/* a slot was another's before it could be locked */
	bool		gone;			/* the one that is looked at */
	bool		locked;			/* it is, and is written in any case */
	bool		stopped;		/* the subscription was, by a lost claim */
	int			moved_on;		/* slots that are idle, whose checkpoint was moved */
	Claim	   *claim;
} Look;

static bool look_once(Look *look);
static void begin_look(Look *look);
static bool look_at_slots(Look *look);
static bool read_definition(Look *look);
static Slot *longest_waiting(Look *look, bool *tried);
static bool is_eligible(Look *look, Slot *slot);
static bool is_later(Look *look, TimestampTz at);
static void look_again_after(Look *look, int pause);
static bool look_at_slot(Look *look, Slot *slot);
static bool take_guard(const Look *look, const Slot *slot, LOCKTAG *tag);
static bool look_guarded(Look *look, Slot *slot);
static bool lock_slot(Look *look, Slot *slot);
static void lost_claim(Look *look, Slot *slot);
static void lost_new(Look *look, Slot *slot);
static Failure lost_failure(int times);
static void lost_retry(Look *look, Slot *slot);
static bool claim_retry(Look *look, Slot *slot);
static void upcast_page(Look *look, Slot *slot, FailedEvents *failed);
static bool upcast_waiting(Look *look, Slot *slot, SetAside *account);
static bool claim_new(Look *look, Slot *slot);
static bool read_new(Look *look, Slot *slot);
static bool set_failed_aside(Look *look, Slot *slot, const FailedEvents *failed);
static void end_before(FeedPage *page, int64 position);
static void found_nothing(Look *look, Slot *slot, const FeedPage *page);
static bool is_idle_for_long(Look *look, Slot *slot, int64 position);
static void lease(Look *look, Slot *slot, text *retried);

/* Claims what waits longest. */
bool
pointstore_claim_events(Subscription *subscription, text *member, int max_events, Claim *claim)
{
	Look		look;
	bool		found;
	int			turns = 0;

	memset(claim, 0, sizeof(Claim));
	do
	{
		memset(&look, 0, sizeof(Look));
		look.subscription = subscription;
		look.member = member;
		look.max_events = max_events;
		look.claim = claim;
		claim->next_look = DT_NOEND;
		look.now = GetCurrentTimestamp();
		found = look_once(&look);
	} while (!found && look.moved && ++turns < LOOKS);
	claim->unfinished = !found && look.looked_at >= PAGE_POSITIONS;
	return found;
}

/* Whether there is something that could be claimed; else when the next look is worth it: at once, where this one was not at the head. */
bool
pointstore_is_claimable(Subscription *subscription, TimestampTz *next_look)
{
	Claim		claim;
	bool		found = pointstore_claim_events(subscription, NULL, 1, &claim);

	*next_look = claim.unfinished ? DT_NOBEGIN : claim.next_look;
	return found;
}

/* Looks at all slots, unless the subscription does not run. */
static bool
look_once(Look *look)
{
	bool		found = false;

	if (look->subscription->running)
	{
		(void) pointstore_push_snapshot();
		begin_look(look);
		found = look_at_slots(look);
		PopActiveSnapshot();
	}
	if (!look->subscription->running)
		look_again_after(look, FREED_PAUSE);
	return found;
}

/* Reads the slots, and the head. */
static void
begin_look(Look *look)
{
	text	   *name = look->subscription->name;
	int			n = look->subscription->slots;
	int			i;

	look->slots = pointstore_read_slots(name, n);
	look->after = palloc(sizeof(int64) * n);
	look->have_some = palloc0(sizeof(bool) * n);
	for (i = 0; i < n; i++)
		look->after[i] = pointstore_looked_at(&look->slots[i], name);
	/* which is the store's, and of no shard */
	look->head = pointstore_here().is_range ? 0 : pointstore_published_head();
	if (look->head == 0)
		look->head = pointstore_read_head();
}

/* One slot after the other, until something is found or enough was looked at. */
static bool
look_at_slots(Look *look)
{
	bool	   *tried = palloc0(sizeof(bool) * look->subscription->slots);
	bool		first = true;
	Slot	   *slot;

	for (; !look->stopped && look->looked_at < PAGE_POSITIONS && (slot = longest_waiting(look, tried)) != NULL; first = false)
	{
		CHECK_FOR_INTERRUPTS();
		if (first && !read_definition(look))
			return false;
		tried[slot->number] = true;
		if (look_at_slot(look, slot))
			return true;
	}
	return false;
}

/*
 * Reads the definition by the snapshot that the slots were read by: who changes it changes them, so it stands where one of
 * them can be locked as it was read. False: the subscription is gone, or does not run, or has other slots.
 */
static bool
read_definition(Look *look)
{
	Subscription *subscription = look->subscription;
	int			slots = subscription->slots;

	if (!pointstore_find_subscription(subscription, subscription->name))
		subscription->running = false;
	look->moved = subscription->slots != slots;
	return subscription->running && !look->moved;
}

/* The slot that waits longest of those that may have something and were not tried; null: none. */
static Slot *
longest_waiting(Look *look, bool *tried)
{
	Slot	   *longest = NULL;
	bool		is_last = false;
	int			i;

	for (i = 0; i < look->subscription->slots; i++)
	{
		Slot	   *slot = &look->slots[i];
		bool		shunned;

		if (!ItemPointerIsValid(&slot->place) || tried[i] || !is_eligible(look, slot))
			continue;
		shunned = pointstore_is_shunned(slot, look->subscription->name, look->now);
		if (longest == NULL || (shunned == is_last ? slot->served_at < longest->served_at : is_last))
		{
			longest = slot;
			is_last = shunned;
		}
	}
	return longest;
}

/* Whether a slot is nobody's, and has perhaps something. */
static bool
is_eligible(Look *look, Slot *slot)
{
	bool		retries;

	if (slot->claimed && is_later(look, slot->leased_until))
	{
		look_again_after(look, FREED_PAUSE);
		return false;
	}
	if (is_later(look, slot->not_before))
		return false;
	retries = !is_later(look, slot->retry_at);
	return retries || slot->claimed || look->after[slot->number] < look->head;
}

/* Whether a time is still to come, and then is a reason to look again. */
static bool
is_later(Look *look, TimestampTz at)
{
	if (at <= look->now)
		return false;
	look->claim->next_look = Min(look->claim->next_look, at);
	return true;
}

/* Nobody tells when something can be had that cannot be now: it is looked for again. */
static void
look_again_after(Look *look, int pause)
{
	(void) is_later(look, TimestampTzPlusMilliseconds(look->now, pause));
}

/* Looks at a slot, unless another session does or has just written it: that keeps the lock until its transaction ends. */
static bool
look_at_slot(Look *look, Slot *slot)
{
	LOCKTAG		tag;
	bool		found;

	if (!take_guard(look, slot, &tag))
	{
		look_again_after(look, GUARDED_PAUSE);
		return false;
	}
	if (look->member == NULL)
		return slot->claimed || slot->retry_at <= look->now || claim_new(look, slot);
	found = look_guarded(look, slot);
	if (!found && !look->locked)
		(void) LockRelease(&tag, ExclusiveLock, false);
	return found;
}

/* Only to see whether there is something the lock is looked at, and not taken. */
static bool
take_guard(const Look *look, const Slot *slot, LOCKTAG *tag)
{
	int			others = 0;

	pointstore_guard_tag(look->subscription->name, slot->number, tag);
	if (look->member == NULL)
	{
		pfree(GetLockConflicts(tag, ExclusiveLock, &others));
		return others == 0;
	}
	return LockAcquire(tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

/* The lock in memory of a slot, for who looks for something to claim, or has written it. */
void
pointstore_guard_tag(text *subscription, int16 number, LOCKTAG *tag)
{
	uint32		hash = hash_bytes((const unsigned char *) VARDATA_ANY(subscription), VARSIZE_ANY_EXHDR(subscription));

	PointstorePlace place = pointstore_here();

	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, hash, place.is_range ? (uint32) place.min : (uint32) number, CLAIM_LOCK_KIND);
}

/* A claim that was lost is dealt with first. Retries have their turn, but not twice in a row where there is something new. */
static bool
look_guarded(Look *look, Slot *slot)
{
	bool		new_first = slot->retried_last || pointstore_is_shunned(slot, look->subscription->name, look->now);
	bool		found = false;

	look->locked = false;
	if (slot->claimed)
		lost_claim(look, slot);
	if (!look->stopped && !look->gone)
		found = (slot->retry_at <= look->now && !new_first && claim_retry(look, slot)) ||
			claim_new(look, slot) ||
			(slot->retry_at <= look->now && new_first && claim_retry(look, slot));
	if (!found && look->locked)
		pointstore_write_slot(slot, look->subscription->name);
	look->gone = false;
	return found;
}

/* Locks the slot, once. False: it has passed to another, and what was read of it is nothing any more. */
static bool
lock_slot(Look *look, Slot *slot)
{
	if (look->gone)
		return false;
	if (!look->locked && !pointstore_lock_slot_as_read(slot, look->subscription->name))
	{
		look->moved = look->gone = true;
		look_again_after(look, GUARDED_PAUSE);
	}
	look->locked = !look->gone;
	return look->locked;
}

/* Another had claimed the slot, and his lease has ended. */
static void
lost_claim(Look *look, Slot *slot)
{
	FeedDecision decision = {.action = "takeover", .subscription = look->subscription->name, .has_slot = true, .slot = slot->number,
		.member = slot->member, .aggregate_id = slot->retried, .position = slot->delivered};

	if (!lock_slot(look, slot))
		return;
	pointstore_log_decision(&decision);
	if (slot->retried != NULL)
		lost_retry(look, slot);
	else
		lost_new(look, slot);
	look->after[slot->number] = slot->checkpoint;
	/* who comes late has lost it, whether or not there is something to claim for who has taken over */
	pointstore_new_epoch(slot);
	pointstore_end_claim(slot);
}

/* New events come one at a time from now on; one that was lost alone is blamed, and in the end dealt with as one that failed. */
static void
lost_new(Look *look, Slot *slot)
{
	FeedPage	page = {.after = slot->delivered - 1, .upto = slot->delivered, .max_events = 1};

	slot->alone_upto = Max(slot->alone_upto, slot->delivered);
	if (!slot->alone || ++slot->lost < look->subscription->max_attempts)
		return;
	pointstore_read_new(look->subscription, slot, &page, NULL);
	if (page.nevents > 0)
	{
		Failure		failure = lost_failure(slot->lost);
		SetAside	account = {.id = pointstore_delivered_account(&page, 0), .position = slot->delivered,
			.version = pointstore_delivered_version(&page, 0), .attempts = slot->lost - 1};

		look->stopped = pointstore_set_aside(look->subscription, slot, &account, &failure);
	}
}

static Failure
lost_failure(int times)
{
	Failure		failure = {.action = "retry"};

	failure.error = cstring_to_text(psprintf("the member that had claimed it was not heard of again, %d times", times));
	return failure;
}

/* The same of an account that was retried. */
static void
lost_retry(Look *look, Slot *slot)
{
	SetAside	account;

	if (!pointstore_find_set_aside(&account, look->subscription, slot->number, slot->retried))
		return;
	if (slot->alone)
	{
		Failure		failure = lost_failure(account.attempts + 1);

		look->stopped = pointstore_retry_failed(look->subscription, slot, &account, &failure);
		return;
	}
	account.alone_upto = Max(account.alone_upto, slot->delivered);
	pointstore_retry_later(look->subscription, slot, &account, look->now);
}

/* Claims the waiting events of the account that is to be retried first. One of which none is left is set aside no more. */
static bool
claim_retry(Look *look, Slot *slot)
{
	const Subscription *subscription = look->subscription;
	SetAside	account;

	if (!lock_slot(look, slot))
		return false;
	while (!look->stopped && pointstore_find_due(&account, subscription, slot, look->now, slot->checkpoint))
	{
		FeedPage   *page = &look->claim->page;

		memset(page, 0, sizeof(FeedPage));
		page->upto = slot->checkpoint;
		page->max_events = account.position <= account.alone_upto ? 1 : look->max_events;
		pointstore_read_waiting(subscription, account.id, account.version, page);
		if (page->nevents > 0)
		{
			if (!upcast_waiting(look, slot, &account))
				continue;
			look->claim->attempt = account.attempts + 1;
			slot->read_to = 0;
			lease(look, slot, account.id);
			return true;
		}
		if (pointstore_retry_done(subscription, slot, &account, account.position - 1))
			elog(ERROR, "events of account \"%s\" at position %lld were there, and are not", text_to_cstring(account.id), (long long) account.position);
	}
	/* it may have been altered what the slot says: not to look in vain again */
	pointstore_note_due(subscription, slot);
	look->after[slot->number] = slot->checkpoint;
	return false;
}

/* Brings a page to the newest form, as far as it can be. */
static void
upcast_page(Look *look, Slot *slot, FailedEvents *failed)
{
	text	   *name = look->subscription->name;

	/* should it raise what ends the look */
	pointstore_shun(slot, name, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), SHUNNED));
	pointstore_upcast_delivery(&look->claim->page, failed);
	pointstore_shun(slot, name, 0);
}

/* Brings what waits of an account to the newest form, up to where that fails. False: at once, which is a further attempt. */
static bool
upcast_waiting(Look *look, Slot *slot, SetAside *account)
{
	Failure		failure = {.action = "retry"};
	FailedEvents failed;

	if (look->subscription->handler != NULL)
		return true;
	upcast_page(look, slot, &failed);
	if (look->claim->page.nevents > 0)
		return true;
	failure.error = failed.events[0].error;
	look->stopped = pointstore_retry_failed(look->subscription, slot, account, &failure);
	return false;
}

/* Claims new events. Where the upcasters of all that were found fail, those after them. */
static bool
claim_new(Look *look, Slot *slot)
{
	const FeedPage *page = &look->claim->page;
	FailedEvents failed = {0};

	while (!look->gone && !look->stopped && look->after[slot->number] < look->head && look->looked_at < PAGE_POSITIONS)
	{
		bool		again = slot->checkpoint < slot->alone_upto;

		if (!read_new(look, slot))
			return false;
		if (look->member == NULL)
			return true;
		/* a projection's are called with its handler */
		if (look->subscription->handler == NULL)
			upcast_page(look, slot, &failed);
		if (!lock_slot(look, slot))
			return false;
		if (failed.n > 0 && !set_failed_aside(look, slot, &failed))
			continue;
		/* what came with others in a claim that was lost has come before */
		slot->attempt = Max(slot->attempt, again && page->events[0].position <= slot->alone_upto ? 1 : 0) + 1;
		look->claim->attempt = slot->attempt;
		slot->read_to = page->read_to;
		lease(look, slot, NULL);
		return true;
	}
	return false;
}

/* Reads new events onto the page. False: there are none, which is noted. */
static bool
read_new(Look *look, Slot *slot)
{
	FeedPage   *page = &look->claim->page;
	OtherSlots	others = {.after = look->after, .have_some = look->have_some};

	memset(page, 0, sizeof(FeedPage));
	page->after = look->after[slot->number];
	page->upto = PG_INT64_MAX;
	page->max_events = slot->checkpoint < slot->alone_upto ? 1 : look->max_events;
	memset(look->have_some, false, sizeof(bool) * look->subscription->slots);
	/* on the way here an account was set aside, perhaps, or is not any more */
	if (look->locked)
		(void) pointstore_push_snapshot();
	pointstore_read_new(look->subscription, slot, page, &others);
	if (look->locked)
		PopActiveSnapshot();
	look->looked_at += page->read_to - page->after;
	if (page->nevents == 0)
		found_nothing(look, slot, page);
	return page->nevents > 0;
}

/*
 * Sets the accounts aside whose events have failed; where the subscription would stop of one, the page ends before it,
 * and it stops when that comes first. Whether the page has events left to deliver; else the slot has passed it.
 */
static bool
set_failed_aside(Look *look, Slot *slot, const FailedEvents *failed)
{
	FeedPage   *page = &look->claim->page;
	int			i;

	for (i = 0; i < failed->n; i++)
	{
		int64		position = failed->events[i].position;
		Failure		failure = {.action = "retry", .error = failed->events[i].error};
		SetAside	account = {.id = failed->events[i].id, .position = position, .version = failed->events[i].version};
		bool		is_first = page->nevents == 0 || position < page->events[0].position;

		if (!is_first && pointstore_would_stop(look->subscription, &failure))
		{
			end_before(page, position);
			break;
		}
		if (is_first)
			look->stopped = pointstore_set_aside(look->subscription, slot, &account, &failure);
		else
			(void) pointstore_set_aside_ahead(look->subscription, slot, &account, &failure);
		if (look->stopped)
			return false;
	}
	if (page->nevents == 0)
		look->after[slot->number] = slot->checkpoint = page->read_to;
	return page->nevents > 0;
}

static void
end_before(FeedPage *page, int64 position)
{
	while (page->nevents > 0 && page->events[page->nevents - 1].position > position)
		page->nevents--;
	page->read_to = position - 1;
}

/* There is nothing new of a slot on a page, nor of those others that were looked at on the way. */
static void
found_nothing(Look *look, Slot *slot, const FeedPage *page)
{
	text	   *name = look->subscription->name;
	int			i;

	for (i = 0; i < look->subscription->slots; i++)
	{
		Slot	   *other = &look->slots[i];

		if (!ItemPointerIsValid(&other->place) || look->have_some[i] || look->after[i] < page->after || look->after[i] >= page->read_to)
			continue;
		look->after[i] = page->read_to;
		if (other == slot && look->locked)
			other->checkpoint = page->read_to;
		else if (is_idle_for_long(look, other, page->read_to))
			pointstore_write_slot(other, name);
		else
			pointstore_note_looked_at(other, name, page->read_to);
	}
	slot->attempt = slot->lost = 0;
}

/*
 * Whether a slot, which is nobody's, is so far behind a position up to which it has nothing that it is put there, locked, to be
 * written. Others know by the lock in memory that they cannot have it before this transaction ends.
 */
static bool
is_idle_for_long(Look *look, Slot *slot, int64 position)
{
	LOCKTAG		tag;

	if (look->member == NULL || slot->claimed || position - slot->checkpoint < IDLE_STEP || look->moved_on == MOVED_AT_ONCE ||
		!take_guard(look, slot, &tag))
		return false;
	if (!pointstore_lock_slot_as_read(slot, look->subscription->name))
	{
		(void) LockRelease(&tag, ExclusiveLock, false);
		return false;
	}
	look->moved_on++;
	slot->checkpoint = position;
	slot->attempt = slot->lost = 0;
	return true;
}

/* The slot is the member's, with what is on the page. */
static void
lease(Look *look, Slot *slot, text *retried)
{
	const FeedPage *page = &look->claim->page;

	pointstore_new_epoch(slot);
	slot->member = look->member;
	slot->claimed = true;
	slot->leased_until = pointstore_lease_end(look->subscription);
	slot->retried = retried;
	slot->retried_last = retried != NULL;
	slot->delivered = page->events[page->nevents - 1].position;
	slot->alone = page->nevents == 1;
	slot->not_before = DT_NOBEGIN;
	pointstore_write_slot(slot, look->subscription->name);
	look->claim->slot = pointstore_number_of_slot(slot->number);
	look->claim->epoch = slot->epoch;
	look->claim->retried = retried;
}

/* When a lease that begins now ends. */
TimestampTz
pointstore_lease_end(const Subscription *subscription)
{
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(GetCurrentTimestamp()),
												   IntervalPGetDatum(subscription->lease)));
}
