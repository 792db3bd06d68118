/*-------------------------------------------------------------------------
 *
 * src/ground/pointstore.h
 *		What the rooms of pointstore share, floor by floor from the ground.
 *		A room calls only rooms whose section stands above its own here.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_H
#define POINTSTORE_H

#include "postgres.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/skey.h"
#include "access/tableam.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "ground/compat.h"

#define POINTSTORE_VERSION "1.2"

#define ERRCODE_POINTSTORE_VERSION_CONFLICT		MAKE_SQLSTATE('P','S','0','0','1')
#define ERRCODE_POINTSTORE_REQUEST_MISMATCH		MAKE_SQLSTATE('P','S','0','0','2')
#define ERRCODE_POINTSTORE_INSUFFICIENT_BALANCE	MAKE_SQLSTATE('P','S','0','0','3')
#define ERRCODE_POINTSTORE_ACCOUNT_FROZEN		MAKE_SQLSTATE('P','S','0','0','4')
#define ERRCODE_POINTSTORE_ACCOUNT_CLOSED		MAKE_SQLSTATE('P','S','0','0','5')
#define ERRCODE_POINTSTORE_APPEND_ONLY			MAKE_SQLSTATE('P','S','0','0','6')
#define ERRCODE_POINTSTORE_HOLD_NOT_OPEN			MAKE_SQLSTATE('P','S','0','0','7')
#define ERRCODE_POINTSTORE_ACCOUNT_MISSING		MAKE_SQLSTATE('P','S','0','0','8')
#define ERRCODE_POINTSTORE_BALANCE_LIMIT		MAKE_SQLSTATE('P','S','0','0','9')
#define ERRCODE_POINTSTORE_UNPAIRED_CHANGE		MAKE_SQLSTATE('P','S','0','1','0')
#define ERRCODE_POINTSTORE_NOT_ALLOWED			MAKE_SQLSTATE('P','S','0','1','1')

#define POINTSTORE_MAX_NAME 512		/* bytes of an id, a type, a kind */

/* ---------------------------------------------------------------------
 * store.c: where the store is, and acting as its owner
 * ---------------------------------------------------------------------
 */
typedef enum PointstoreTableId
{
	TABLE_EVENT_STORE,
	TABLE_BALANCE,
	TABLE_PURE_ACCOUNT,
	TABLE_ACCOUNT_KIND,
	TABLE_HOLD,
	N_STORE_TABLES
} PointstoreTableId;

typedef enum EventColumn
{
	EV_ID, EV_AGGREGATE_ID, EV_VERSION, EV_EVENT_TYPE, EV_AMOUNT, EV_HELD, EV_BALANCE_AFTER,
	EV_PAYLOAD, EV_METADATA, EV_REQUEST_ID, EV_LEG, EV_CAUSE_ID, EV_OCCURRED_AT, EV_CREATED_AT,
	N_EVENT_COLUMNS
} EventColumn;

typedef enum BalanceColumn
{
	BAL_AGGREGATE_ID, BAL_KIND, BAL_VERSION, BAL_BALANCE, BAL_HELD, BAL_NEXT_EXPIRY, BAL_STATUS,
	BAL_UPDATED_AT,
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
	KIND_AMOUNT_REQUIRED,
	N_KIND_COLUMNS
} KindColumn;

typedef enum HoldColumn
{
	HOLD_HOLD_ID, HOLD_AGGREGATE_ID, HOLD_AMOUNT, HOLD_CAPTURED, HOLD_STATUS, HOLD_CREATED_AT,
	HOLD_EXPIRES_AT, HOLD_CLOSED_AT, HOLD_EVENT_ID,
	N_HOLD_COLUMNS
} HoldColumn;

#define MAX_STORE_COLUMNS N_EVENT_COLUMNS

/* The indexes that rows are found by; each but the last is a key of its table. */
typedef enum PointstoreIndexId
{
	INDEX_EVENT,				/* event_store (aggregate_id, version) */
	INDEX_EVENT_REQUEST,		/* (request_id, leg) */
	INDEX_EVENT_ID,
	INDEX_BALANCE,
	INDEX_PURE_ACCOUNT,
	INDEX_ACCOUNT_KIND,
	INDEX_HOLD,
	INDEX_HOLD_IDENTITY,		/* (hold_id, aggregate_id) */
	INDEX_HOLD_EXPIRY,			/* (aggregate_id, expires_at), of open ones */
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
	Oid			relid;
	int			ncolumns;
	AttrNumber	att[MAX_STORE_COLUMNS];
	ColumnMark	mark[MAX_STORE_COLUMNS];
	bool		plain;			/* nothing of the users' runs when a row is written */
} PointstoreTable;

typedef struct PointstoreStore
{
	PointstoreTable table[N_STORE_TABLES];
	Oid			owner;
	bool		plain;			/* all tables that an append writes are */
	Oid			index[N_STORE_INDEXES];
	Oid			id_sequence;
	Oid			receipt_type;
	const char *lacks_what;		/* null: it is complete */
	char		lacks_name[3 * NAMEDATALEN];
} PointstoreStore;

/* The identity to go back to. */
typedef struct PointstoreScope
{
	Oid			user;
	int			security;
	int			guc_level;		/* 0: search_path was left alone */
} PointstoreScope;

/* How one acts as another: with no way back to the caller's role, and where it matters with nothing left behind. */
#define POINTSTORE_AS_OWNER (SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS)
#define POINTSTORE_RESTRICTED (POINTSTORE_AS_OWNER | SECURITY_RESTRICTED_OPERATION)

/* A statement of ours, prepared at its first use in a session and kept. */
typedef struct PointstorePlan
{
	const char *sql;
	int			nargs;
	Oid			argtypes[16];
	SPIPlanPtr	plan;
} PointstorePlan;

extern const PointstoreStore *pointstore_store(void);
extern bool pointstore_store_exists(void);
extern bool pointstore_store_is_complete(void);
extern Oid	pointstore_store_owner(void);
extern bool pointstore_store_is_whole(void);
extern void pointstore_act_as_owner(PointstoreScope *scope);
extern void pointstore_act_as_reader(PointstoreScope *scope);
extern void pointstore_act_as_verifier(PointstoreScope *scope);
extern void pointstore_act_as_owner_plainly(PointstoreScope *scope);
extern void pointstore_act_as_owner_of_holds(PointstoreScope *scope);
extern void pointstore_lock_tables(void);
extern void pointstore_forget_locks(void);
extern void pointstore_set_option(const char *name, const char *value);
extern void pointstore_act_as_caller(const PointstoreScope *scope);
extern PointstoreTableId pointstore_table_of(PointstoreIndexId index);
extern bool pointstore_index_decides(Relation index, PointstoreIndexId key);
extern bool pointstore_is_store_column(const PointstoreTable *table, AttrNumber att);
extern ErrorData *pointstore_attempt(bool (*what) (void *), void *arg);
extern void pointstore_prepare(PointstorePlan *plan);
extern void pointstore_execute(PointstorePlan *plan, Datum *values, const char *nulls, bool read_only);
extern void pointstore_check_arguments(FunctionCallInfo fcinfo, int n);
extern text *pointstore_name(FunctionCallInfo fcinfo, int argno, const char *what);
extern void pointstore_check_name(const char *what, text *name);
extern int	pointstore_place(text *name, const char *const *names, int n);
extern char *pointstore_cstring(text *name);
extern Jsonb *pointstore_payload(FunctionCallInfo fcinfo, int argno);
extern Jsonb *pointstore_empty_payload(void);
extern void pointstore_detail(StringInfo detail, const char *key, const char *value);
extern void pointstore_detail_number(StringInfo detail, const char *key, int64 value);
extern int	pointstore_detail_account(text *id);
extern int	pointstore_detail_figures(text *id, const char *a, int64 x, const char *b, int64 y);
extern char *pointstore_role_name(Oid role);
extern void pointstore_require_operator(Oid role, const char *what);

/* ---------------------------------------------------------------------
 * step.c: transactions of our own
 * ---------------------------------------------------------------------
 */
extern void pointstore_begin_step(void);
extern void pointstore_step_ended(bool committed);
extern void pointstore_begin_procedure(FunctionCallInfo fcinfo, const char *name);
extern void pointstore_next_step(void);
extern void pointstore_last_step(void);

/* ---------------------------------------------------------------------
 * worker.c: how our background workers begin, and make way
 * ---------------------------------------------------------------------
 */
#define POINTSTORE_COMBINER "pointstore combiner"

extern void pointstore_worker_signals(void);
extern void pointstore_worker_connected(void);
extern bool pointstore_worker_reload(void);
extern void pointstore_worker_clean_up(void);
extern void pointstore_make_way(void);

/* ---------------------------------------------------------------------
 * progress.c: what a reconciliation under way shows of itself
 * ---------------------------------------------------------------------
 */
typedef enum PointstoreFigure
{
	PROGRESS_LEADER,			/* of a parallel worker: the session it works for */
	PROGRESS_FULL,
	PROGRESS_PHASE,
	PROGRESS_ACCOUNTS_DONE,
	PROGRESS_ACCOUNTS_TOTAL,	/* 0: unknown, as the next but one */
	PROGRESS_EVENTS_DONE,
	PROGRESS_EVENTS_TOTAL,
	PROGRESS_STARTED_AT,
	N_PROGRESS_FIGURES
} PointstoreFigure;

typedef enum PointstorePhase
{
	PHASE_INITIALIZING,
	PHASE_WAITING,
	PHASE_SCANNING,
	PHASE_EXAMINING,
	PHASE_FINDINGS,
	PHASE_SPOOLING
} PointstorePhase;

extern void pointstore_progress_start(bool full);
extern void pointstore_progress_set(PointstoreFigure figure, int64 value);
extern void pointstore_progress_count(int64 events);
extern void pointstore_progress_end(void);

/* ---------------------------------------------------------------------
 * stat.c: counters of what appends have come to, per database; what was told lately
 * ---------------------------------------------------------------------
 */
/* in the order of the columns of stat() */
typedef enum PointstoreStat
{
	/* events, by what was decided about them, as Outcome */
	STAT_APPENDS,
	STAT_REPLAYS,
	STAT_VERSION_CONFLICTS,
	STAT_REQUEST_MISMATCHES,
	STAT_INSUFFICIENT_BALANCE,
	STAT_BALANCE_LIMIT,
	STAT_ACCOUNT_FROZEN,
	STAT_ACCOUNT_CLOSED,
	STAT_ACCOUNT_MISSING,
	STAT_NOT_ALLOWED,
	/* combined appends */
	STAT_BATCHES,
	STAT_COMBINED,				/* events that the batches have decided */
	STAT_ANSWERS,				/* callers that were answered */
	STAT_WAITED,				/* us, all of those together */
	STAT_GIVEN_BACK,
	N_STATS
} PointstoreStat;

extern Size pointstore_stat_memory(void);
extern void pointstore_stat_set_up(void);
extern void pointstore_stat_add(PointstoreStat counter, int64 n);
extern bool pointstore_is_news(uint64 what);
extern int64 pointstore_stat_highest_id(void);
extern void pointstore_stat_raise_id(int64 id);

/* ---------------------------------------------------------------------
 * row.c: rows of the store's tables, by the executor's own steps
 * ---------------------------------------------------------------------
 */
/* What a scan looks for: conditions on an index's first columns, none at first. */
typedef struct RowKey
{
	int			n;
	ScanKeyData columns[2];
} RowKey;

typedef struct RowScan
{
	Relation	heap;
	Relation	index;
	IndexScanDesc scan;
	TupleTableSlot *slot;
} RowScan;

/* One table that a writer writes. */
typedef struct RowTarget
{
	const PointstoreTable *table;
	ResultRelInfo *rel;
	TupleTableSlot *slot;
	bool		inserts;		/* its BEFORE INSERT statement triggers have fired */
	bool		updates;		/* its replica identity was asked for, and likewise for UPDATE */
	TransitionCaptureState *insert_capture;
	TransitionCaptureState *update_capture;
	ExprState **defaults;		/* of the user's own columns, by attribute; NULL = not prepared */
	int			keys;			/* whose indexes are the next */
	List	   *arbiters;
} RowTarget;

/*
 * A statement of ours: rows of one or more tables written under one command
 * id, with the users' triggers fired as by any other statement.
 */
typedef struct RowWriter
{
	struct RowWriter *outer;
	int			nest_level;
	EState	   *estate;
	CommandId	cid;
	bool		speculative;	/* indexes are opened for inserts that may meet a key */
	bool		plain;			/* no table has triggers to fire */
	int			ntargets;
	RowTarget	targets[3];
	TupleTableSlot *firing;		/* the row whose BEFORE triggers are firing */
	HeapTuple	fence;		/* null, or a row, as read, that must stand when a row with keys is in */
	RowTarget  *storing;		/* where a row is being stored, while it is */
} RowWriter;

typedef enum RowOutcome
{
	ROW_WRITTEN,
	ROW_CONFLICT				/* insert: its key is there; update: the row has moved on */
} RowOutcome;

extern void pointstore_key_text(RowKey *key, text *value);
extern void pointstore_key_smallint(RowKey *key, int16 value);
extern void pointstore_key_bigint(RowKey *key, int64 value);
extern void pointstore_key_at_least(RowKey *key, int64 value);
extern void pointstore_key_at_most(RowKey *key, int64 value);
extern void pointstore_key_until(RowKey *key, TimestampTz value);
extern void pointstore_scan_begin(RowScan *scan, PointstoreIndexId index, Snapshot snapshot, RowKey *key);
extern void pointstore_scan_begin_reading(RowScan *scan, PointstoreIndexId index, Snapshot snapshot, RowKey *key);
extern void pointstore_scan_again(RowScan *scan, RowKey *key);
extern bool pointstore_scan_next(RowScan *scan, ScanDirection direction);
extern void pointstore_scan_end(RowScan *scan);
extern bool pointstore_row_is_ours(HeapTuple row);
extern XLogRecPtr pointstore_row_durable(TupleTableSlot *slot);
extern void pointstore_await_durable(XLogRecPtr lsn);
extern bool pointstore_scan_waits(RowScan *scan, SnapshotData *dirty);
extern bool pointstore_lock_row(Relation heap, TupleTableSlot *slot, Snapshot snapshot, bool *busy);
extern bool pointstore_share_row(Relation heap, TupleTableSlot *slot, Snapshot snapshot);
extern bool pointstore_row_stands(HeapTuple read, TransactionId *changer);

extern RowWriter *pointstore_writer_begin(int ntargets, const PointstoreTableId *tables,
										  bool speculative);
extern void pointstore_writer_end(RowWriter *writer);
extern RowTarget *pointstore_writer_target(RowWriter *writer, PointstoreTableId table);
extern void pointstore_row_begin(RowTarget *target, HeapTuple read);
extern RowOutcome pointstore_row_insert(RowWriter *writer, RowTarget *target, int keys);
extern RowOutcome pointstore_row_update(RowWriter *writer, RowTarget *target, ItemPointer tid);
extern PointstoreIndexId pointstore_violated_key(const RowWriter *writer, const ErrorData *error);
extern bool pointstore_is_own_slot(TupleTableSlot *slot);
extern bool pointstore_is_own_row(HeapTuple tuple);
extern bool pointstore_is_being_written(HeapTuple row);
extern void pointstore_forget_writers(int nest_level);

/* ---------------------------------------------------------------------
 * note.c: what this transaction has written by hand
 * ---------------------------------------------------------------------
 */
/* An account whose row and events are to be brought together by the caller. */
typedef struct ChangeNote
{
	text	   *id;				/* the key */
	int64		version;		/* the first at which they were parted by hand */
} ChangeNote;

/* An event that was let in. */
typedef struct EventNote
{
	int64		id;
	uint64		digest:62;		/* of what is to be stored */
	uint64		by_caller:1;	/* its balance is moved by the caller */
	uint64		matches:1;		/* its balance was, before it */
} EventNote;

extern void pointstore_note_init(void);
extern bool pointstore_caller_moves_balances(void);
extern void pointstore_note_change(text *id, int64 version);
extern bool pointstore_is_noted_change(text *id);
extern void pointstore_for_each_change(void (*what) (const ChangeNote *change));
extern void pointstore_note_event(const EventNote *event);
extern const EventNote *pointstore_noted_event(int64 id);
extern bool pointstore_has_noted_events(void);
extern bool pointstore_has_notes(void);
extern void pointstore_forget_notes(void);

/* ---------------------------------------------------------------------
 * history.c: an account's events, found by version and by time
 * ---------------------------------------------------------------------
 */
typedef struct HistoryScan
{
	text	   *id;
	RowScan		scan;
} HistoryScan;

/* What is asked of an event that was found. */
typedef struct PastEvent
{
	int64		version;
	int64		balance;
	TimestampTz created_at;
} PastEvent;

extern void pointstore_history_begin(HistoryScan *history, text *id);
extern bool pointstore_history_at_version(HistoryScan *history, int64 version, PastEvent *event);
extern bool pointstore_history_at_time(HistoryScan *history, TimestampTz until, PastEvent *event);
extern void pointstore_history_from(HistoryScan *history, int64 version);
extern bool pointstore_history_next(HistoryScan *history, PastEvent *event);
extern void pointstore_history_end(HistoryScan *history);

/* ---------------------------------------------------------------------
 * account.c: balance rows, kinds, status, account_log
 * ---------------------------------------------------------------------
 */
typedef enum AccountStatus
{
	STATUS_OPEN,
	STATUS_FROZEN,
	STATUS_CLOSED
} AccountStatus;

/* The rules that an account lives under. */
typedef struct Kind
{
	text	   *name;
	text	   *unit;
	bool		pure;
	bool		auto_open;
	bool		amount_required;	/* in an INSERT by hand */
	bool		has_floor;
	bool		has_ceiling;
	int64		floor;
	int64		ceiling;
} Kind;

/* One account as read; version, balance and updated_at move on as events are judged. */
typedef struct Account
{
	text	   *id;
	bool		exists;			/* has a row */
	const Kind *kind;			/* null: not yet known, or no such kind */
	text	   *kind_name;
	bool		pure;
	AccountStatus status;
	int64		version;
	int64		balance;
	int64		held;
	TimestampTz updated_at;		/* of a pure one: of its last event */
	TimestampTz next_expiry;
	bool		has_expiry;
	int64		expired;		/* of what is held: reserves nothing any more */
	bool		expiry_known;	/* expired has been looked up */
	TimestampTz clock;			/* that its holds are judged by; 0: not read yet */
	List	   *closing;		/* holds that the batch closes */
	bool		expiry_moves;	/* among them is the next to expire */
	HeapTuple	row;			/* as read, with the user's columns; null when missing */
	bool		opened;			/* by this batch */
	bool		busy;			/* LOCK_IF_FREE: an append would have to wait; what was read does not count */
	Oid			opened_by;		/* who opens it; InvalidOid: the session's role */
	bool		waits;			/* it was changed by hand, and its other half is the caller's to write */
	int64		last_id;		/* as pointstore_last_event() has read it, as the next two; 0: not read yet */
	bool		last_is_ours;	/* of this transaction */
	CommandId	last_cid;		/* then: the command that inserted it */
	int			nevents;		/* of the batch, appended to it */
	struct ProposedEvent *claim;	/* pure: the event whose key claims its next version */
} Account;

/*
 * What reading an account locks FOR NO KEY UPDATE. With a lock, what this transaction has
 * inserted by hand is settled first; what waits for the caller is told, or with LOCK_ACCOUNT PS010.
 */
typedef enum AccountLock
{
	LOCK_NOTHING,
	LOCK_IF_FREE,				/* the balance row, unless another has it, is opening it, or appends to it */
	LOCK_BALANCE,				/* the balance row; a pure account needs no lock to append */
	LOCK_ACCOUNT,				/* whatever row it has: for a change of status or kind */
	LOCK_BY_HAND				/* the balance row, or a pure account's FOR SHARE: for a guard, which sees to what waits */
} AccountLock;

extern Snapshot pointstore_push_snapshot(void);
extern void pointstore_read_account(Account *account, text *id, Snapshot snapshot, AccountLock lock);
extern void pointstore_release_account(Account *account);
extern void pointstore_forget_kinds(void);
extern void pointstore_refuse_waiting(const Account *account);
pg_noreturn extern void pointstore_refuse_triggered_status(text *id);
extern const Kind *pointstore_read_kind(text *name);
extern const Kind *pointstore_require_kind(text *name);
extern bool pointstore_last_event(Account *account, Snapshot snapshot);
extern void pointstore_follow_event(Account *account, const Account *last);
extern int64 pointstore_highest_id(void);
extern bool pointstore_same_text(text *a, text *b);
extern RowOutcome pointstore_write_account(RowWriter *writer, Account *account);
extern bool pointstore_change_account(Account *account);
extern bool pointstore_open_row(text *id, const Kind *kind, Oid role);
extern void pointstore_refuse_events(text *id, Snapshot snapshot);
extern void pointstore_refuse_damaged(text *id, Snapshot snapshot);
extern void pointstore_refuse_other_mode(text *id, bool pure);
extern void pointstore_freeze(text *id, text *reason);
extern void pointstore_note_opening(const Account *account);
extern void pointstore_log(const char *action, text *reason, const Account *before, const Account *after);
extern AccountStatus pointstore_status(text *status);

/* ---------------------------------------------------------------------
 * held.c: rows of holds, and what an account's open ones reserve
 * ---------------------------------------------------------------------
 */
typedef enum HoldStatus
{
	HOLD_OPEN,
	HOLD_CONFIRMED,
	HOLD_CANCELLED,
	HOLD_EXPIRED
} HoldStatus;

/* One hold: its row as read, or as it is to be written. */
typedef struct Hold
{
	text	   *id;
	text	   *aggregate_id;	/* empty: cancelled before it was placed, and no account was named */
	int64		amount;
	int64		captured;
	HoldStatus	status;
	TimestampTz created_at;
	TimestampTz expires_at;
	TimestampTz closed_at;
	int64		event_id;		/* of its HoldPlaced */
	bool		has_event;
	HeapTuple	row;			/* as read; null when it is new */
	XLogRecPtr	durable;		/* of the row: what is awaited before it is told of */
	bool		has_expired;	/* open, and reserves nothing any more */
} Hold;

extern const char *const pointstore_hold_status[];
extern bool pointstore_read_hold(Hold *hold, text *id, Snapshot snapshot, bool *again);
extern bool pointstore_lock_hold_if_free(Hold *hold, Snapshot snapshot);
extern void pointstore_release_hold(Hold *hold);
extern RowOutcome pointstore_write_hold(RowWriter *writer, Hold *hold, int keys);
extern TimestampTz pointstore_account_clock(Account *account);
extern void pointstore_know_expired(Account *account, Snapshot snapshot);
extern int64 pointstore_available(const Account *account);
extern void pointstore_find_next_expiry(Account *account, List *closing, Snapshot snapshot);

/* ---------------------------------------------------------------------
 * pair.c: rows and events written by hand belong together
 * ---------------------------------------------------------------------
 */
extern void pointstore_check_pairs(void);
extern bool pointstore_is_unpaired(text *id);

/* ---------------------------------------------------------------------
 * refusal.c: what a proposed event comes to, and the error that a refusal is
 * ---------------------------------------------------------------------
 */
typedef enum Outcome
{
	OUTCOME_APPENDED,
	OUTCOME_REPLAYED,
	OUTCOME_VERSION_CONFLICT,
	OUTCOME_REQUEST_MISMATCH,
	OUTCOME_INSUFFICIENT_BALANCE,
	OUTCOME_BALANCE_LIMIT,
	OUTCOME_ACCOUNT_FROZEN,
	OUTCOME_ACCOUNT_CLOSED,
	OUTCOME_ACCOUNT_MISSING,
	OUTCOME_NOT_ALLOWED,
	OUTCOME_HOLD_NOT_OPEN,		/* of the try_ forms: not_allowed too */
	/* errors in every form of the call */
	OUTCOME_OVERFLOW,
	OUTCOME_WRONG_KIND,
	OUTCOME_PURE,				/* a hold on a pure account */
	OUTCOME_WITHDRAWN,			/* with another event of its request, which was refused */
	/* undecided: another has locked the account or applies the request, nothing was written */
	OUTCOME_BUSY
} Outcome;

#define OUTCOME_LAST_REFUSAL OUTCOME_HOLD_NOT_OPEN

/* Why, where an outcome has several reasons; each but the first is of account_missing or not_allowed. */
typedef enum Reason
{
	REASON_PLAIN,
	REASON_NO_HOLD,				/* there is none of that name */
	REASON_NO_EVENT,			/* nor such a version */
	REASON_UNITS,				/* the accounts count different things */
	REASON_HOLD_SMALLER,		/* than what is to be confirmed */
	REASON_MOVED_NOTHING,		/* so there is nothing to be reversed */
	REASON_IS_REVERSAL,
	REASON_NOTHING_LEFT,		/* to be reversed */
	REASON_LESS_LEFT,
	REASON_FRACTION				/* of a leg that cannot be shared out */
} Reason;

/*
 * A proposed event, and from outcome on what the store decides about it. Where the
 * proposal depends on what the store holds, propose() fills in the rest of it
 * from the account's state, which stays as it is until the event is written;
 * false: it has decided itself, and set the outcome.
 */
typedef struct ProposedEvent
{
	text	   *aggregate_id;
	text	   *event_type;
	Jsonb	   *payload;
	Jsonb	   *metadata;		/* null = none, as request_id and kind */
	text	   *request_id;
	text	   *kind;
	int64		amount;
	int64		expected_version;
	int64		floor;
	TimestampTz occurred_at;
	bool		any_amount;		/* left out in an INSERT: a repeat is not compared by it */
	bool		has_expected;
	bool		has_floor;
	bool		has_occurred;
	bool		is_linked;		/* has its leg also without a request_id, and the first leg as its cause */
	bool		has_cause;
	bool		any_floor;		/* passes below the floor */
	bool		any_status;		/* passes on a frozen account */
	bool		untold;			/* a refusal that knows nothing of its account */
	bool		kind_opens;		/* the kind is that of an account which it opens, no other's */
	int16		leg;
	int			element;		/* of append_events(), from 1; 0: none */
	int			further;		/* events of its request that come after it, and next to it */
	Oid			role;			/* who appends it; InvalidOid: the session's role */
	int64		held;			/* change of held */
	int64		cause_id;
	Hold	   *hold;			/* whose step it is: its row is written with it */
	bool		(*propose) (struct ProposedEvent *event, Snapshot snapshot);
	void	   *subject;		/* what that is about */

	Outcome		outcome;
	Account    *account;
	int64		version;		/* of a refusal: the account's actual one, as the next two */
	int64		balance;
	int64		available;
	int64		limit;			/* floor or ceiling that it would have crossed; what is there to be confirmed or reversed */
	int64		requested;		/* of that */
	Reason		reason;
	int64		id;
	TimestampTz created_at;
	XLogRecPtr	durable;		/* replayed: what is awaited before it is told; invalid: nothing */
	bool		again;			/* propose() has waited for a twin: all is to be read again */
	const char *mismatch;		/* first differing field of a request used otherwise: a literal */
	const char *asked;			/* its value here; of units: the other account's */
	const char *stored;			/* and as applied; the refused account's */
	const char *opening;		/* of units: the kind that would open the refused account, which is missing */
	int64		applied_version;	/* what that request has written; what is to be reversed */
	struct ProposedEvent *same_as;	/* earlier event of the batch with the same request_id */
	struct ProposedEvent *next; /* of the batch on the same account */
} ProposedEvent;

extern void pointstore_tell_difference(ProposedEvent *event, const ProposedEvent *stored);
extern const char *pointstore_clipped(const char *value);
pg_noreturn extern void pointstore_raise(const ProposedEvent *event);

/* ---------------------------------------------------------------------
 * append.c: one batch of proposed events: lock, check, write, receipts
 * ---------------------------------------------------------------------
 */
/*
 * Proposed events that stand or fall together; or apart: then a refused request is
 * passed over with its outcome in its events, and only an error takes all back.
 */
typedef struct Batch
{
	ProposedEvent *events;
	int			nevents;
	bool		balanced;
	bool		same_unit;		/* all accounts of a request count the same */
	bool		refusals_are_outcomes;
	bool		apart;			/* what would have to be waited for is OUTCOME_BUSY */
	bool		trusting;		/* an applied request may also be an error, 40001 */

	Account    *accounts;		/* in the one lock order: by bytes of the id */
	int			naccounts;
	ProposedEvent **first;		/* of each account, the others by ->next */
	bool		written;		/* this attempt has written a row */
	bool		again;			/* a twin was waited for: all is to be read again */
	ProposedEvent *refused;		/* the first that failed */
	const ProposedEvent *current;	/* that is being judged or written; null: none in particular */
	bool		overtaken;		/* by others: what this attempt has written is to be taken back, and all begun anew */
} Batch;

extern void pointstore_append(Batch *batch);
extern void pointstore_append_or_leave(Batch *batch);
extern void pointstore_tell_account(ProposedEvent *event, Snapshot snapshot);
extern bool pointstore_has_waited(int sqlerrcode);
extern int	pointstore_count(const Batch *batch);
extern void pointstore_count_event(const ProposedEvent *event);
extern Datum pointstore_append_one(ProposedEvent *event, bool refusals_are_outcomes);
extern void pointstore_make_request(ProposedEvent *events, int n, text *request_id);
extern void pointstore_link_legs(ProposedEvent *events, int n);
extern Datum pointstore_answer_all(FunctionCallInfo fcinfo, const Batch *batch);
extern void pointstore_read_arguments(FunctionCallInfo fcinfo, ProposedEvent *event);
extern Datum pointstore_answer(const ProposedEvent *event, bool refusals_are_outcomes);
extern void pointstore_check_event(const ProposedEvent *event);
extern bool pointstore_is_reserved(text *event_type);
extern bool pointstore_find_request(ProposedEvent *events, int nevents, bool one_leg, Snapshot snapshot);
extern void pointstore_judge(ProposedEvent *event, Account *account, Snapshot snapshot);
extern void pointstore_raise_refused(const Batch *batch);
extern int64 pointstore_draw_id(Account *account);

extern void pointstore_append_adjustment(Account *account, int64 last_version, int64 amount, Jsonb *payload);

/* ---------------------------------------------------------------------
 * index.c: whether the keys say what the heaps say
 * ---------------------------------------------------------------------
 */
/* What the heaps said of an account. */
typedef struct HeapView
{
	int64		events;
	int64		last;			/* version */
	int64		mark;			/* of the events, HEAP_MARK() */
	int64		balances;		/* rows that it has */
	int64		pures;
} HeapView;

extern void pointstore_use_no_index(void);
extern void pointstore_use_indexes(void);
extern void pointstore_view_heaps(Datum *ids, int n, HeapView *views);
extern const char *pointstore_find_lie(text *id, const HeapView *heap, Snapshot snapshot);
extern void pointstore_refuse_lie(text *id, const char *table);

/* ---------------------------------------------------------------------
 * rebuild.c: balance rows set to what the events say
 * ---------------------------------------------------------------------
 */
/* How an account is rebuilt. */
typedef struct Rebuild
{
	const char *action;			/* that is logged */
	text	   *reason;			/* or null */
	bool		force;			/* also by events that are inconsistent */
	const HeapView *heap;		/* what the heaps said; null: they are read before anything is written */
	bool		unchecked;		/* the caller has compared them with the keys */
} Rebuild;

extern bool pointstore_rebuild(text *id, const Rebuild *how, Account *before, Account *after);

/* ---------------------------------------------------------------------
 * digest.c: the aggregate that proves a history
 * ---------------------------------------------------------------------
 */
#define POINTSTORE_DIGEST_PACE 1000		/* events between two pauses: a millisecond or two */

/* what is called after so many events digested in this process; null: nothing */
extern void (*pointstore_digest_pause) (void);
extern void pointstore_digest_pace(bool digested);

/* ---------------------------------------------------------------------
 * spool.c: what a full run in slices has read of the events
 * ---------------------------------------------------------------------
 */
typedef struct Spool Spool;

/* What the partitions are of. */
typedef enum SpoolFamily
{
	SPOOL_ACCOUNTS,				/* an account's events */
	SPOOL_REQUESTS,				/* a request's */
	SPOOL_MOVEMENTS,			/* a movement's, by its first leg */
	SPOOL_REVERSALS,			/* what was taken back of these movements */
	N_SPOOL_FAMILIES
} SpoolFamily;

extern const char *const pointstore_spool_sql;
extern Spool *pointstore_spool_create(int parts, int memory, MemoryContext context);
extern void pointstore_spool_free(Spool *spool);
extern void pointstore_spool_forget(Spool *spool, SpoolFamily family, int part);
extern DestReceiver *pointstore_spool_receiver(Spool *spool);
extern DestReceiver *pointstore_spool_reversals_receiver(Spool *spool);
extern void pointstore_spool_show(Spool *spool, SpoolFamily family, int part, const char *name);

/* ---------------------------------------------------------------------
 * hold.c: holds
 * ---------------------------------------------------------------------
 */
extern void pointstore_sweep(void);

/* ---------------------------------------------------------------------
 * transfer.c: transfers and reversals
 * ---------------------------------------------------------------------
 */
#define POINTSTORE_TRANSFER_LEGS 2

extern void pointstore_read_transfer(FunctionCallInfo fcinfo, ProposedEvent *legs);
extern Datum pointstore_append_transfer(FunctionCallInfo fcinfo, ProposedEvent *legs, bool refusals_are_outcomes);

/* ---------------------------------------------------------------------
 * launcher.c: workers and their schedule
 * ---------------------------------------------------------------------
 */
extern void pointstore_launcher_init(void);

#endif							/* POINTSTORE_H */
