/*-------------------------------------------------------------------------
 *
 * src/ground/table.h
 *		Tables of the store: their columns, their indexes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_TABLE_H
#define POINTSTORE_TABLE_H

#include "utils/relcache.h"

#include "ground/compat.h"

typedef enum PointstoreTableId
{
	TABLE_EVENT_STORE,
	TABLE_BALANCE,
	TABLE_PURE_ACCOUNT,
	TABLE_ACCOUNT_KIND,
	TABLE_HOLD,
	TABLE_LEASE,
	TABLE_TRANSITION,
	TABLE_ACCOUNT_LOG,
	N_STORE_TABLES,
	/* read and written by SQL alone */
	TABLE_ACCOUNT_PROOF = N_STORE_TABLES,
	TABLE_SNAPSHOT,
	TABLE_PARTICIPANT_STEP,
	TABLE_UPCASTER,
	TABLE_FINDING,
	TABLE_RECONCILIATION,
	TABLE_RECONCILIATION_CHECKPOINT,
	TABLE_FEED_BLOCK,
	TABLE_FEED_START,
	TABLE_MOVEMENT,
	TABLE_MOVEMENT_STEP,
	TABLE_MOVEMENT_LOG,
	TABLE_MOVEMENT_STORE,
	TABLE_MOVEMENT_SERVER,
	TABLE_PARTICIPANT_ORIGIN,
	TABLE_SUBSCRIPTION,
	TABLE_SUBSCRIPTION_SLOT,
	TABLE_SUBSCRIPTION_ACCOUNT,
	TABLE_SUBSCRIPTION_LOG,
	N_PLACED_TABLES				/* those that a distributed store has shards of */
} PointstoreTableId;

typedef enum EventColumn
{
	EV_ID, EV_AGGREGATE_ID, EV_VERSION, EV_EVENT_TYPE, EV_AMOUNT, EV_HELD, EV_BALANCE_AFTER,
	EV_PAYLOAD, EV_METADATA, EV_REQUEST_ID, EV_LEG, EV_CAUSE_ID, EV_OCCURRED_AT, EV_CREATED_AT,
	EV_PAYLOAD_VERSION, EV_STATE_AFTER,
	N_EVENT_COLUMNS
} EventColumn;

typedef enum BalanceColumn
{
	BAL_AGGREGATE_ID, BAL_KIND, BAL_VERSION, BAL_BALANCE, BAL_HELD, BAL_NEXT_EXPIRY, BAL_STATUS,
	BAL_UPDATED_AT, BAL_STATE, BAL_INCOMING,
	N_BALANCE_COLUMNS
} BalanceColumn;

typedef enum PureColumn
{
	PURE_AGGREGATE_ID, PURE_KIND, PURE_STATUS,
	N_PURE_COLUMNS
} PureColumn;

typedef enum KindColumn
{
	KIND_KIND, KIND_MODE, KIND_UNIT, KIND_MIN_BALANCE, KIND_MAX_BALANCE, KIND_AUTO_OPEN,
	KIND_AMOUNT_REQUIRED, KIND_REDUCER, KIND_REDUCER_VERSION, KIND_SNAPSHOT_EVERY,
	KIND_INITIAL_STATE, KIND_TRANSITIONS, KIND_COMMUTING, KIND_MERGE, KIND_LEASE_REQUIRED,
	N_KIND_COLUMNS
} KindColumn;

typedef enum HoldColumn
{
	HOLD_HOLD_ID, HOLD_AGGREGATE_ID, HOLD_AMOUNT, HOLD_CAPTURED, HOLD_STATUS, HOLD_CREATED_AT,
	HOLD_EXPIRES_AT, HOLD_CLOSED_AT, HOLD_EVENT_ID,
	N_HOLD_COLUMNS
} HoldColumn;

typedef enum LeaseColumn
{
	LEASE_NAME, LEASE_HOLDER, LEASE_TOKEN, LEASE_ACQUIRED_AT, LEASE_EXPIRES_AT,
	N_LEASE_COLUMNS
} LeaseColumn;

typedef enum TransitionColumn
{
	TRANSITION_KIND, TRANSITION_FROM_STATE, TRANSITION_EVENT_TYPE, TRANSITION_TO_STATE,
	N_TRANSITION_COLUMNS
} TransitionColumn;

typedef enum LogColumn
{
	LOG_AGGREGATE_ID, LOG_ID, LOG_ACTION,
	N_LOG_COLUMNS
} LogColumn;

#define MAX_STORE_COLUMNS N_EVENT_COLUMNS

/* The indexes that rows are found by; each but INDEX_HOLD_EXPIRY and INDEX_ACCOUNT_LOG is a key of its table. */
typedef enum PointstoreIndexId
{
	INDEX_EVENT,				/* event_store (aggregate_id, version) */
	INDEX_EVENT_REQUEST,		/* (request_id, leg); of a distributed store (aggregate_id, request_id, leg) */
	INDEX_EVENT_ID,				/* of a distributed store no key: ids are unique by how they are drawn */
	INDEX_BALANCE,
	INDEX_PURE_ACCOUNT,
	INDEX_ACCOUNT_KIND,
	INDEX_TRANSITION,			/* (kind, from_state, event_type) */
	INDEX_HOLD,					/* (hold_id); of a distributed store (hold_id, aggregate_id) */
	INDEX_HOLD_IDENTITY,		/* (hold_id, aggregate_id) */
	INDEX_HOLD_EXPIRY,			/* (aggregate_id, expires_at), of open ones */
	INDEX_LEASE,
	INDEX_ACCOUNT_LOG,			/* (aggregate_id, id): the only one that a store may lack, or whose table may be another */
	N_STORE_INDEXES
} PointstoreIndexId;

/* as a member of a set of keys */
#define KEY_OF(index) (1 << (index))

typedef enum ColumnMark
{
	COLUMN_OURS,
	COLUMN_KEYED,				/* of a unique index, in a row that is updated: an update leaves it alone */
	COLUMN_FREE					/* a user's BEFORE trigger may change it */
} ColumnMark;

/* One table of the store: att[our column] is its attribute number there. */
typedef struct PointstoreTable
{
	PointstoreTableId id;
	Oid			relid;
	int			ncolumns;
	AttrNumber	att[MAX_STORE_COLUMNS];
	ColumnMark	mark[MAX_STORE_COLUMNS];
	bool		plain;			/* nothing of the users' runs when a row is written */
	bool		is_distributed; /* one of the shards of a table: its keys have the account in them */
	uint64		indexes_locked; /* in which generation of locks (row.c) */
} PointstoreTable;

/* The tables that have an account's rows, and its rules, with their indexes. */
typedef struct PointstoreShard
{
	PointstoreTable table[N_STORE_TABLES];
	Oid			index[N_STORE_INDEXES];
	bool		plain;			/* all tables that an append writes are */
} PointstoreShard;

/* The first thing that a store was found to lack. */
typedef struct StoreLack
{
	const char *what;			/* null: it is complete */
	char		name[3 * NAMEDATALEN];
} StoreLack;

extern const char *const pointstore_table_names[N_PLACED_TABLES];
extern void pointstore_load_shard(PointstoreShard *shard, const Oid *relids, bool is_distributed, StoreLack *lack);
extern void pointstore_note_lack(StoreLack *lack, const char *what, const char *name);
pg_noreturn extern void pointstore_refuse_lack(const char *what, const char *name);
extern PointstoreTableId pointstore_table_of(PointstoreIndexId index);
extern bool pointstore_index_decides(Relation index, const PointstoreTable *table, PointstoreIndexId key);
extern bool pointstore_index_runs_code(Relation rel);
extern bool pointstore_is_store_column(const PointstoreTable *table, AttrNumber att);

#endif							/* POINTSTORE_TABLE_H */
