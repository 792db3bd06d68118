/*-------------------------------------------------------------------------
 *
 * src/feed/settle.c
 *		What becomes of a claim: acknowledged, failed, renewed, given back.
 *
 * A claim is named by its slot and its epoch, and judged by them under the lock of the slot's row. Whoever looks for
 * something to claim meanwhile passes over the slot, by the lock in memory that claims take, until
 * this transaction has ended.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
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
#include "feed/settle.h"
#include "feed/slot.h"
#include "ground/compat.h"
#include "ground/pointstore.h"
#include "ground/step.h"

static void require_claim(const Subscription *subscription, Slot *slot, int16 number, int64 epoch, bool claimed);
static int64 ack_new(const Subscription *subscription, Slot *slot, int64 position);
pg_noreturn static void refuse_position(const Subscription *subscription, const Slot *slot, int64 position);
static int64 ack_retry(const Subscription *subscription, Slot *slot, int64 position);
static void nack_new(const Subscription *subscription, Slot *slot, int64 position, const Failure *failure);
static void nack_retry(const Subscription *subscription, Slot *slot, int64 position, const Failure *failure);

/*
 * Done up to a position. Of new events that is the checkpoint, which is returned, and all that
 * were delivered end the claim. At or below what is done already it is harmless.
 */
int64
pointstore_ack_claim(const Subscription *subscription, int16 number, int64 epoch, int64 position)
{
	Slot		slot;

	require_claim(subscription, &slot, number, epoch, false);
	return slot.retried != NULL ? ack_retry(subscription, &slot, position) : ack_new(subscription, &slot, position);
}

/* The slot by its claim, locked. PS014 where that has another epoch by now, has ended and must not have, or is gone with its subscription. */
static void
require_claim(const Subscription *subscription, Slot *slot, int16 number, int64 epoch, bool claimed)
{
	LOCKTAG		tag;
	bool		found;

	if (number < 0 || number >= subscription->slots)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("subscription \"%s\" has no slot %d", text_to_cstring(subscription->name), number)));
	/* who looks for something to claim passes over it until this transaction ends; who does already is not waited for */
	pointstore_guard_tag(subscription->name, number, &tag);
	(void) LockAcquire(&tag, ExclusiveLock, false, true);
	(void) pointstore_push_snapshot();
	found = pointstore_find_slot(slot, subscription->name, number);
	PopActiveSnapshot();
	if (!found || !pointstore_lock_slot(slot, subscription->name) || slot->epoch != epoch || (claimed && !slot->claimed))
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_LEASE_LOST),
				 errmsg("slot %d of subscription \"%s\" is not claimed by epoch %lld any more", pointstore_number_of_slot(number), text_to_cstring(subscription->name), (long long) epoch),
				 errdetail("subscription=%s, slot=%d, epoch=%lld, actual_epoch=%lld", text_to_cstring(subscription->name), pointstore_number_of_slot(number),
						   (long long) epoch, (long long) slot->epoch)));
}

static int64
ack_new(const Subscription *subscription, Slot *slot, int64 position)
{
	if (position <= slot->checkpoint)
		return slot->checkpoint;
	if (!slot->claimed || position > slot->delivered)
		refuse_position(subscription, slot, position);
	slot->lost = 0;
	if (position == slot->delivered)
	{
		slot->checkpoint = Max(slot->read_to, slot->delivered);
		slot->attempt = 0;
		pointstore_end_claim(slot);
	}
	else
	{
		slot->checkpoint = position;
		slot->attempt = 1;
		slot->alone = false;
		slot->leased_until = pointstore_lease_end(subscription);
	}
	pointstore_write_slot(slot, subscription->name);
	return slot->checkpoint;
}

static void
refuse_position(const Subscription *subscription, const Slot *slot, int64 position)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("position %lld is not one that slot %d of subscription \"%s\" has delivered, and that waits to be done", (long long) position,
					pointstore_number_of_slot(slot->number), text_to_cstring(subscription->name)),
			 errdetail("checkpoint=%lld, delivered=%lld", (long long) slot->checkpoint, (long long) slot->delivered)));
}

/* The same of an account's events: the slot's checkpoint stays, they are below it. */
static int64
ack_retry(const Subscription *subscription, Slot *slot, int64 position)
{
	bool		all = position >= slot->delivered;
	SetAside	account;

	if (position > slot->delivered)
		refuse_position(subscription, slot, position);
	if (!pointstore_find_set_aside(&account, subscription, slot->number, slot->retried))
		all = true;
	else if (position < account.position)
		return slot->checkpoint;
	else
		all |= !pointstore_retry_done(subscription, slot, &account, position);
	if (all)
		pointstore_end_claim(slot);
	else
	{
		slot->alone = false;
		slot->leased_until = pointstore_lease_end(subscription);
	}
	pointstore_write_slot(slot, subscription->name);
	return slot->checkpoint;
}

/* An event has failed: those before it are done, the claim ends. */
void
pointstore_nack_claim(const Subscription *subscription, const Nack *nack)
{
	Failure		failure = {.action = nack->action, .error = nack->error, .retry_in = nack->retry_in};
	Slot		slot;

	require_claim(subscription, &slot, nack->slot, nack->epoch, true);
	if (slot.retried != NULL)
		nack_retry(subscription, &slot, nack->position, &failure);
	else
		nack_new(subscription, &slot, nack->position, &failure);
	pointstore_new_epoch(&slot);
	pointstore_end_claim(&slot);
	pointstore_write_slot(&slot, subscription->name);
}

/* The filter may be another by now than that by which the event was delivered. */
static void
nack_new(const Subscription *subscription, Slot *slot, int64 position, const Failure *failure)
{
	Subscription unfiltered = *subscription;
	FeedPage	page = {.after = position - 1, .upto = position, .max_events = 1};
	SetAside	account = {.position = position};

	if (position <= slot->checkpoint || position > slot->delivered)
		refuse_position(subscription, slot, position);
	unfiltered.event_types = unfiltered.prefix = 0;
	(void) pointstore_push_snapshot();
	pointstore_read_new(&unfiltered, slot, &page, NULL);
	PopActiveSnapshot();
	if (page.nevents == 0)
		refuse_position(subscription, slot, position);
	account.id = pointstore_delivered_account(&page, 0);
	account.version = pointstore_delivered_version(&page, 0);
	(void) pointstore_set_aside(subscription, slot, &account, failure);
}

static void
nack_retry(const Subscription *subscription, Slot *slot, int64 position, const Failure *failure)
{
	SetAside	account;

	if (!pointstore_find_set_aside(&account, subscription, slot->number, slot->retried))
		return;
	if (position > account.position && position <= slot->delivered)
		(void) pointstore_retry_done(subscription, slot, &account, position - 1);
	if (position != account.position || position > slot->delivered)
		refuse_position(subscription, slot, position);
	(void) pointstore_retry_failed(subscription, slot, &account, failure);
}

/* The lease begins anew; it is written where a third of it is over. Returns its end. */
TimestampTz
pointstore_renew_claim(const Subscription *subscription, int16 number, int64 epoch)
{
	TimestampTz end = pointstore_lease_end(subscription);
	TimestampTz now = GetCurrentTimestamp();
	Slot		slot;
	bool		fresh;

	(void) pointstore_push_snapshot();
	fresh = number >= 0 && number < subscription->slots && pointstore_find_slot(&slot, subscription->name, number) &&
		slot.epoch == epoch && slot.claimed && slot.leased_until - now > (end - now) / 3 * 2;
	PopActiveSnapshot();
	if (fresh)
		return slot.leased_until;
	require_claim(subscription, &slot, number, epoch, true);
	slot.leased_until = pointstore_lease_end(subscription);
	pointstore_write_slot(&slot, subscription->name);
	return slot.leased_until;
}

/*
 * Gives the slot back without blame: what was delivered comes again, after delay, as if it had not been or, where
 * that counts, once more.
 */
void
pointstore_release_claim(const Subscription *subscription, int16 number, int64 epoch, Interval *delay, bool counts)
{
	TimestampTz until = GetCurrentTimestamp();
	SetAside	account;
	Slot		slot;

	require_claim(subscription, &slot, number, epoch, true);
	if (delay != NULL)
		until = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(until), IntervalPGetDatum(delay)));
	if (slot.retried == NULL)
	{
		slot.attempt = Max(slot.attempt - (counts ? 0 : 1), 0);
		slot.not_before = delay != NULL ? until : DT_NOBEGIN;
	}
	else if (pointstore_find_set_aside(&account, subscription, number, slot.retried))
		pointstore_retry_later(subscription, &slot, &account, until);
	pointstore_new_epoch(&slot);
	pointstore_end_claim(&slot);
	pointstore_write_slot(&slot, subscription->name);
}
