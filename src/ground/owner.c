/*-------------------------------------------------------------------------
 *
 * src/ground/owner.c
 *		Acting as the owner of the store.
 *
 * The functions act as the owner of the store's tables: what reads and verifies in a
 * security-restricted operation, what writes with the locks on the tables that writing
 * takes anyway.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lmgr.h"

#include "ground/identity.h"
#include "ground/owner.h"
#include "ground/shard.h"
#include "ground/store.h"

static uint64 locked_store = 0;	/* generation of the store whose tables this transaction has locked */

static bool is_plain(void);
static void lock_table(PointstoreTableId table);

/* Takes on the owner's identity and a pinned search_path. */
void
pointstore_act_as_owner(PointstoreScope *scope)
{
	pointstore_act_as(pointstore_store()->owner, scope, false);
}

/*
 * The same for what only reads: what the owner's views and policies do besides does not
 * outlast it, as a trigger that is deferred or a cursor WITH HOLD would, to run as the
 * caller at its commit.
 */
void
pointstore_act_as_reader(PointstoreScope *scope)
{
	pointstore_act_as_restricted(pointstore_store()->owner, scope);
}

/* As for what reads, in a store that may lack a key or a trigger: for what verifies it. */
void
pointstore_act_as_verifier(PointstoreScope *scope)
{
	pointstore_act_as_restricted(pointstore_store_owner(), scope);
}

/*
 * Takes on the owner's identity to write rows of the tables. Where these are
 * plain no name is looked up, and the caller's search_path may stay: see pointstore_lock_plain().
 */
void
pointstore_act_as_owner_plainly(PointstoreScope *scope, bool plain)
{
	pointstore_act_as(pointstore_store()->owner, scope, plain);
}

/*
 * Whether an append to an account runs nothing of the users'. The locks on its tables, which writing takes anyway, keep
 * them so until the transaction ends. Of a distributed store nothing is said of accounts that are not
 * known to be here, nor of none.
 */
bool
pointstore_lock_plain(text *of)
{
	PointstorePlacement *range;
	int			i;

	pointstore_lock_tables();
	if (!pointstore_is_distributed())
		return is_plain();
	if (of == NULL || !pointstore_is_known_here(of))
		return false;
	range = pointstore_placement_of(of);
	for (i = TABLE_EVENT_STORE; range->writing != pointstore_lock_generation() && i <= TABLE_PURE_ACCOUNT; i++)
		LockRelationOid(range->relids[i], RowExclusiveLock);
	range->writing = pointstore_lock_generation();
	/* as it is now that it stays so */
	return pointstore_shard_of(of)->plain;
}

/* The same where holds are written too. */
void
pointstore_act_as_owner_of_holds(PointstoreScope *scope)
{
	pointstore_lock_tables();
	lock_table(TABLE_HOLD);
	pointstore_act_as(pointstore_store()->owner, scope, is_plain() && pointstore_store()->shard.table[TABLE_HOLD].plain);
}

/* The same where leases alone are. */
void
pointstore_act_as_owner_of_leases(PointstoreScope *scope)
{
	lock_table(TABLE_LEASE);
	pointstore_act_as(pointstore_store()->owner, scope, !pointstore_is_distributed() && pointstore_store()->shard.table[TABLE_LEASE].plain);
}

/* Whether an append runs nothing of the users'. */
static bool
is_plain(void)
{
	return !pointstore_is_distributed() && pointstore_store()->shard.plain;
}

/* Locks one table for writing, where there is but one of it. */
static void
lock_table(PointstoreTableId table)
{
	if (!pointstore_is_distributed())
		LockRelationOid(pointstore_store()->shard.table[table].relid, RowExclusiveLock);
}

/* Locks the tables that hold accounts and events for writing, once in a transaction. */
void
pointstore_lock_tables(void)
{
	const PointstoreStore *current = pointstore_store();
	int			i;

	if (current->placements != NULL)
		return;
	for (i = TABLE_EVENT_STORE; locked_store != current->generation && i <= TABLE_PURE_ACCOUNT; i++)
		LockRelationOid(current->shard.table[i].relid, RowExclusiveLock);
	locked_store = current->generation;
}

/* Locks end with the transaction, or with the subtransaction that took them. */
void
pointstore_forget_locks(void)
{
	locked_store = 0;
	pointstore_forget_shard_locks();
}
