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
#include "ground/store.h"

static uint64 locked_store = 0;	/* generation of the store whose tables this transaction has locked */

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
 * plain no name is looked up, and the caller's search_path may stay. The locks,
 * which writing takes anyway, keep the tables so until the transaction ends.
 */
void
pointstore_act_as_owner_plainly(PointstoreScope *scope)
{
	pointstore_lock_tables();
	pointstore_act_as(pointstore_store()->owner, scope, pointstore_store()->shard.plain);
}

/* The same where holds are written too. */
void
pointstore_act_as_owner_of_holds(PointstoreScope *scope)
{
	pointstore_lock_tables();
	LockRelationOid(pointstore_store()->shard.table[TABLE_HOLD].relid, RowExclusiveLock);
	pointstore_act_as(pointstore_store()->owner, scope, pointstore_store()->shard.plain && pointstore_store()->shard.table[TABLE_HOLD].plain);
}

/* The same where leases alone are. */
void
pointstore_act_as_owner_of_leases(PointstoreScope *scope)
{
	LockRelationOid(pointstore_store()->shard.table[TABLE_LEASE].relid, RowExclusiveLock);
	pointstore_act_as(pointstore_store()->owner, scope, pointstore_store()->shard.table[TABLE_LEASE].plain);
}

/* Locks the tables that hold accounts and events for writing, once in a transaction. */
void
pointstore_lock_tables(void)
{
	const PointstoreStore *current = pointstore_store();
	int			i;

	for (i = TABLE_EVENT_STORE; locked_store != current->generation && i <= TABLE_PURE_ACCOUNT; i++)
		LockRelationOid(current->shard.table[i].relid, RowExclusiveLock);
	locked_store = current->generation;
}

/* Locks end with the transaction, or with the subtransaction that took them. */
void
pointstore_forget_locks(void)
{
	locked_store = 0;
}
