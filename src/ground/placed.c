/*-------------------------------------------------------------------------
 *
 * src/ground/placed.c
 *		Statements of ours about the rows of one account, or of one shard.
 *
 * A statement names the tables of the store. Of a distributed store it is prepared once more for each shard that it is
 * executed in, with the names of that shard's tables in their place: then it is planned and executed as in a plain store, without Citus,
 * and sees what C has written there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "ground/placed.h"

/* The same statement for a shard. */
struct PlacedPlan
{
	struct PlacedPlan *next;
	Oid			events;			/* the shard's relation of event_store, by which it is known; invalid: not used any more */
	uint64		generation;		/* of the store, when its text was made */
	PointstorePlan plan;
};

static void refuse_unplaced(const PointstorePlan *plan);
static PointstorePlan *plan_in(PointstorePlan *plan, const PointstorePlacement *range);
static char *placed_text(const char *sql, const PointstorePlacement *range);
static char *definition_of_accounts(void);
static const char *behind_name(const char *sql, const char *name);
static const char *table_at(const char *sql, const PointstorePlacement *range, Oid *relid);

void
pointstore_placed_init(void)
{
	pointstore_check_plan = refuse_unplaced;
}

/* A statement that names a table of the store, but no shard, and is not meant for all nodes, is of what a distributed store does not do yet: 0A000. */
static void
refuse_unplaced(const PointstorePlan *plan)
{
	static const char *const elsewhere[] = {
		"feed_block", "feed_start", "subscription", "subscription_slot", "subscription_account", "subscription_log", "projection",
		"replay_run", "replay_slice", "replay_difference", "snapshot_progress", "movement", "movement_step", "movement_log", "movement_store",
		"movement_server", "participant_origin", "reconciliation", "reconciliation_checkpoint", "finding"
	};
	const char *sql;
	bool		is_refused = false;
	int			table;

	for (sql = strstr(plan->sql, "pointstore."); sql != NULL; sql = strstr(sql + 1, "pointstore."))
	{
		for (table = 0; table < N_PLACED_TABLES; table++)
			is_refused |= behind_name(sql, pointstore_table_names[table]) != NULL;
		for (table = 0; table < lengthof(elsewhere); table++)
			is_refused |= behind_name(sql, elsewhere[table]) != NULL;
	}
	if (is_refused && pointstore_store_exists() && pointstore_is_distributed())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a distributed store does not do this yet")));
}

/* Runs a statement about one account, as pointstore_execute(), where that account is: PS013. */
void
pointstore_execute_of(PointstorePlan *plan, text *of, Datum *values, const char *nulls, bool read_only)
{
	pointstore_execute(pointstore_plan_of(plan, of), values, nulls, read_only);
}

/* Runs a statement about rules alone, which every node has. */
void
pointstore_execute_rules(PointstorePlan *plan, Datum *values, const char *nulls, bool read_only)
{
	PointstorePlacements *map = pointstore_is_distributed() ? pointstore_store()->placements : NULL;

	pointstore_execute(map != NULL ? plan_in(plan, map->ranges) : plan, values, nulls, read_only);
}

/* Runs a statement about the accounts of a range that is here; of NULL, in a plain store, about all. */
void
pointstore_execute_in(PointstorePlan *plan, PointstorePlacement *range, Datum *values, const char *nulls, bool read_only)
{
	pointstore_execute(pointstore_plan_in(plan, range), values, nulls, read_only);
}

/* The statement in a range, for those who execute it themselves. */
PointstorePlan *
pointstore_plan_in(PointstorePlan *plan, PointstorePlacement *range)
{
	return range == NULL ? plan : plan_in(plan, range);
}

/* The statement where an account is, for those who execute it themselves. */
PointstorePlan *
pointstore_plan_of(PointstorePlan *plan, text *of)
{
	return pointstore_is_distributed() ? plan_in(plan, pointstore_placement_of(of)) : plan;
}

static PointstorePlan *
plan_in(PointstorePlan *plan, const PointstorePlacement *range)
{
	uint64		generation = pointstore_store()->generation;
	struct PlacedPlan *placed = plan->placed;
	char	   *text;

	while (placed != NULL && placed->events != range->relids[TABLE_EVENT_STORE])
		placed = placed->next;
	if (placed != NULL && placed->generation == generation)
		return &placed->plan;
	text = placed_text(plan->sql, range);
	if (placed != NULL && strcmp(placed->plan.sql, text) == 0)
		placed->generation = generation;
	else
	{
		/* it may be being executed, so it stays */
		if (placed != NULL)
			placed->events = InvalidOid;
		placed = MemoryContextAllocZero(TopMemoryContext, sizeof(struct PlacedPlan));
		placed->events = range->relids[TABLE_EVENT_STORE];
		placed->generation = generation;
		placed->plan = *plan;
		placed->plan.spans_nodes = true;	/* checked */
		placed->plan.plan = NULL;
		placed->plan.placed = NULL;
		placed->plan.sql = MemoryContextStrdup(TopMemoryContext, text);
		placed->next = plan->placed;
		plan->placed = placed;
	}
	pfree(text);
	return &placed->plan;
}

/* The text of a statement with the tables of a shard. */
static char *
placed_text(const char *sql, const PointstorePlacement *range)
{
	StringInfoData text;

	initStringInfo(&text);
	while (*sql != '\0')
	{
		Oid			relid;
		const char *behind = table_at(sql, range, &relid);

		if (behind != NULL)
			appendStringInfo(&text, "pointstore.%s", quote_identifier(get_rel_name(relid)));
		else if ((behind = behind_name(sql, "account")) != NULL)
			appendStringInfo(&text, "(%s) AS account", placed_text(definition_of_accounts(), range));
		else
		{
			appendStringInfoChar(&text, *sql);
			behind = sql + 1;
		}
		sql = behind;
	}
	return text.data;
}

/* What the view of accounts says, without the end of a statement: its tables have their schema. */
static char *
definition_of_accounts(void)
{
	Oid			view = get_relname_relid("account", get_namespace_oid("pointstore", false));
	char	   *definition = TextDatumGetCString(DirectFunctionCall1(pg_get_viewdef, ObjectIdGetDatum(view)));
	char	   *end = strrchr(definition, ';');

	if (end != NULL)
		*end = '\0';
	return definition;
}

/* Whether a table of the shards' is named there: what comes behind it, else NULL. */
static const char *
table_at(const char *sql, const PointstorePlacement *range, Oid *relid)
{
	int			table;

	for (table = 0; table < N_PLACED_TABLES; table++)
	{
		const char *behind = behind_name(sql, pointstore_table_names[table]);

		*relid = range->relids[table];
		if (behind != NULL && OidIsValid(*relid))
			return behind;
	}
	return NULL;
}

/* What comes behind a name of our schema's, where that is there; else NULL. */
static const char *
behind_name(const char *sql, const char *name)
{
	static const char schema[] = "pointstore.";

	if (strncmp(sql, schema, strlen(schema)) != 0 || strncmp(sql + strlen(schema), name, strlen(name)) != 0)
		return NULL;
	sql += strlen(schema) + strlen(name);
	return *sql == '_' || *sql == '(' || (*sql >= 'a' && *sql <= 'z') || (*sql >= '0' && *sql <= '9') ? NULL : sql;
}
