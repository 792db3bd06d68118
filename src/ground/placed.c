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
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "ground/identity.h"
#include "ground/placed.h"
#include "ground/pointstore.h"
#include "ground/preimage.h"
#include "ground/sql.h"
#include "ground/twophase.h"

#define FEW_HASHES 1000000		/* that one text after another is not tried for */

/* The same statement for a shard. */
struct PlacedPlan
{
	struct PlacedPlan *next;
	Oid			events;			/* the shard's relation of event_store, by which it is known; invalid: not used any more */
	uint64		generation;		/* of the store, when its text was made */
	PointstorePlan plan;
};

/* What a statement names of a distributed store. */
typedef enum Named
{
	NOT_KNOWN,
	NAMES_NOTHING,
	NAMES_SHARDS,
	NAMES_ELSE					/* what it has not, or not yet */
} Named;

/* A statement that was made for where we stay. */
typedef struct MadeHere
{
	PointstorePlan *of;
	struct PlacedPlan *placed;
} MadeHere;

/* A name that was made for a range, or for its feed. */
typedef struct MadeName
{
	text	   *name;
	int32		min;
	int32		max;
} MadeName;

static PointstorePlace place;	/* where we stay */
static List *made_here = NIL;	/* MadeHere: since that was forgotten last */

static PointstorePlan *place_plan(PointstorePlan *plan);
static Named what_is_named(const char *sql);
static text *name_in(int32 min, int32 max, const char *prefix);
static text *made_name(int32 min, int32 max, const char *prefix);
static void stay(const PointstorePlacement *range);
static bool is_here(const PointstorePlacement *range);
static PointstorePlacement *here(void);
static PointstorePlan *plan_in(PointstorePlan *plan, const PointstorePlacement *range);
static struct PlacedPlan *make_placed(PointstorePlan *plan, const PointstorePlacement *range, const char *text);
static char *placed_text(const char *sql, const PointstorePlacement *range);
static char *definition_of_accounts(void);
static const char *behind_name(const char *sql, const char *name);
static const char *table_at(const char *sql, const PointstorePlacement *range, Oid *relid);
static char *words_at(const char **sql, const PointstorePlacement *range);
static text *name_of_feed(int32 min, int32 max);

void
pointstore_placed_init(void)
{
	pointstore_place_plan = place_plan;
}

/*
 * A statement that is not meant for all nodes, where we stay. One that names a table of the store and no shard, while we stay nowhere, is of
 * what a distributed store does not do yet, and so is what it has not: 0A000.
 */
static PointstorePlan *
place_plan(PointstorePlan *plan)
{
	if (plan->names == NOT_KNOWN)
		plan->names = what_is_named(plan->sql);
	if (plan->names == NAMES_NOTHING || !pointstore_store_exists() || !pointstore_is_distributed())
		return plan;
	if (!place.is_range || plan->names == NAMES_ELSE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a distributed store does not do this yet")));
	return plan_in(plan, here());
}

static Named
what_is_named(const char *sql)
{
	static const char *const elsewhere[] = {
		"projection", "replay_run", "replay_slice", "replay_difference", "snapshot_progress"
	};
	Named		named = NAMES_NOTHING;
	int			table;

	for (sql = strstr(sql, "pointstore."); sql != NULL; sql = strstr(sql + 1, "pointstore."))
	{
		for (table = 0; table < N_PLACED_TABLES; table++)
			if (behind_name(sql, pointstore_table_names[table]) != NULL || behind_name(sql, "account") != NULL)
				named = Max(named, NAMES_SHARDS);
		for (table = 0; table < lengthof(elsewhere); table++)
			if (behind_name(sql, elsewhere[table]) != NULL)
				named = NAMES_ELSE;
	}
	return named;
}

/*
 * Goes to the first range here that has hashes from one on, which becomes that of the next: until pointstore_leave_place(), over transactions,
 * statements that do not say of which shard they are mean that one. A plain store is one place, which needs no words. False: there is none left.
 */
bool
pointstore_next_place(int64 *hash)
{
	return pointstore_next_free_place(hash, NULL);
}

/* The same, past shards that are being moved or split; *passed: one was. NULL: they are waited for. */
bool
pointstore_next_free_place(int64 *hash, bool *passed)
{
	PointstorePlacement *range = NULL;

	pointstore_leave_place();
	if (*hash > PG_INT32_MAX)
		return false;
	/* a plain one may lack a key: it is for what verifies it */
	if (pointstore_is_distributed())
	{
		if (!(passed == NULL ? pointstore_range_from(*hash, &range) : pointstore_free_range_from(*hash, &range, passed)))
			return false;
		stay(range);
	}
	*hash = pointstore_next_hash(range);
	return true;
}

/* Goes to where an account is: PS013. */
void
pointstore_go_to(text *of)
{
	if (pointstore_is_distributed())
		stay(pointstore_placement_of(of));
}

/* Goes to a shard, by the number that it has in Citus: 22023 where there is none. False: it is on another node. */
bool
pointstore_go_to_shard(int64 shard)
{
	PointstorePlacements *map = pointstore_store()->placements;
	PointstorePlacement *range = map == NULL ? NULL : pointstore_placement_of_shard(map, shard);

	if (range == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the store has no shard %lld", (long long) shard),
				 errhint("The view shard_map shows which there are, of a distributed store.")));
	if (range->node != map->node)
		return false;
	stay(range);
	return true;
}

/* Where we are, to return to: what the users run may have us go elsewhere. */
PointstorePlace
pointstore_here(void)
{
	return place;
}

/* The number in Citus of the shard where we stay. */
int64
pointstore_shard_here(void)
{
	return here()->shard_number;
}

void
pointstore_return_to(PointstorePlace before)
{
	place = before;
}

void
pointstore_leave_place(void)
{
	place.is_range = false;
}

/* Whether we are where an account is, or would be; in a plain store it is. */
bool
pointstore_stays_with(text *of)
{
	int32		hash = place.is_range ? pointstore_hash_of(of) : 0;

	return !place.is_range || (hash >= place.min && hash <= place.max);
}

/* A name that is of the range where we stay, as an account's would be: for rows that are about all of it. */
text *
pointstore_name_of_place(void)
{
	return name_in(place.min, place.max, "");
}

/* The same for what a split ends: it has another one in each shard that comes of it. */
text *
pointstore_name_of_feed(void)
{
	return name_of_feed(place.min, place.max);
}

static text *
name_of_feed(int32 min, int32 max)
{
	return name_in(min, max, psprintf("%d..%d/", min, max));
}

/* The name of an account, there or not, that is where we stay; NULL: where accounts are does not matter. */
text *
pointstore_anybody_here(void)
{
	return place.is_range ? name_in(place.min, place.max, "") : NULL;
}

/* The name of an account, there or not, of a shard, wherever that is. */
text *
pointstore_name_in_shard(int64 shard)
{
	PointstorePlacement *range = pointstore_placement_of_shard(pointstore_store()->placements, shard);

	return name_in(range->min, range->max, "");
}

/* A number where one is found soon; where few hashes are a range, as those of an account that has a shard of its own, one that is made. */
static text *
name_in(int32 min, int32 max, const char *prefix)
{
	int			i;

	if ((int64) max - min < FEW_HASHES)
		return made_name(min, max, prefix);
	for (i = 0;; i++)
	{
		char	   *number = psprintf("%s%d", prefix, i);
		text	   *name = cstring_to_text(number);
		int32		hash = pointstore_hash_of(name);

		CHECK_FOR_INTERRUPTS();
		pfree(number);
		if (hash >= min && hash <= max)
			return name;
		pfree(name);
	}
}

/* The one made last is kept: it takes milliseconds. */
static text *
made_name(int32 min, int32 max, const char *prefix)
{
	static MadeName kept[2];
	MadeName   *made = &kept[*prefix != '\0'];
	text	   *name;

	if (made->name == NULL || made->min != min || made->max != max)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		name = pointstore_text_of_hash(prefix, min);
		MemoryContextSwitchTo(old);
		if (made->name != NULL)
			pfree(made->name);
		*made = (MadeName) {.name = name, .min = min, .max = max};
	}
	name = palloc(VARSIZE(made->name));
	return memcpy(name, made->name, VARSIZE(made->name));
}

static void
stay(const PointstorePlacement *range)
{
	place = (PointstorePlace) {.is_range = true, .min = range->min, .max = range->max};
}

static bool
is_here(const PointstorePlacement *range)
{
	return place.is_range && range->min == place.min && range->max == place.max;
}

/* The range that we stay in, locked as for an access: PS013 where it has left this node, or was split. */
static PointstorePlacement *
here(void)
{
	PointstorePlacement *range = NULL;

	if (!pointstore_range_from(place.min, &range) || range == NULL || !is_here(range))
		ereport(ERROR,
				(errcode(ERRCODE_POINTSTORE_OTHER_NODE),
				 errmsg("a shard has been moved or split while it was gone through")));
	return range;
}

/* The relation of a table where we stay; of a plain store's. */
Oid
pointstore_relation_here(PointstoreTableId table)
{
	return place.is_range ? here()->relids[table] : get_relname_relid(pointstore_table_names[table], get_namespace_oid("pointstore", false));
}

/* What is written where we stay is not seen by Citus: see twophase.c. */
void
pointstore_note_written_here(void)
{
	if (place.is_range)
		pointstore_note_written(pointstore_name_of_place());
}

/* Statements planned from now on find in the catalogs what Citus hides there, until the caller acts as the caller again. */
void
pointstore_show_shards(void)
{
	if (place.is_range)
		pointstore_set_option("citus.override_table_visibility", "off");
}

/* The text of a statement where we stay, for what merely reads: the shard may be moved meanwhile. */
const char *
pointstore_text_here(const char *sql)
{
	const PointstorePlacement *range;

	if (!place.is_range)
		return sql;
	range = pointstore_placement_of_hash(pointstore_store()->placements, place.min);
	if (!is_here(range) || !OidIsValid(range->relids[TABLE_EVENT_STORE]))
		range = here();
	return placed_text(sql, range);
}

/*
 * Statements that were made for where we stayed are not used again by who goes on, and there may be thousands. To be called where none is being
 * executed: by what ends transactions.
 */
void
pointstore_forget_places(void)
{
	ListCell   *cell;

	foreach(cell, made_here)
	{
		MadeHere   *made = lfirst(cell);
		struct PlacedPlan **link = &made->of->placed;

		while (*link != made->placed)
			link = &(*link)->next;
		*link = made->placed->next;
		if (made->placed->plan.plan != NULL)
			SPI_freeplan(made->placed->plan.plan);
		pfree((char *) made->placed->plan.sql);
		pfree(made->placed);
	}
	list_free_deep(made_here);
	made_here = NIL;
}

/* Runs a statement about one account, as pointstore_execute(), where that account is: PS013. */
void
pointstore_execute_of(PointstorePlan *plan, text *of, Datum *values, const char *nulls, bool read_only)
{
	pointstore_execute(pointstore_plan_of(plan, of), values, nulls, read_only);
}

/* The same of a statement that writes. */
void
pointstore_write_of(PointstorePlan *plan, text *of, Datum *values, const char *nulls)
{
	if (pointstore_is_distributed())
		pointstore_note_written(of);
	pointstore_execute_of(plan, of, values, nulls, false);
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
		placed = make_placed(plan, range, text);
		placed->generation = generation;
	}
	pfree(text);
	return &placed->plan;
}

static struct PlacedPlan *
make_placed(PointstorePlan *plan, const PointstorePlacement *range, const char *text)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	struct PlacedPlan *placed = palloc0(sizeof(struct PlacedPlan));

	placed->events = range->relids[TABLE_EVENT_STORE];
	placed->plan = *plan;
	placed->plan.spans_nodes = true;	/* it is placed */
	placed->plan.plan = NULL;
	placed->plan.placed = NULL;
	placed->plan.sql = pstrdup(text);
	placed->next = plan->placed;
	plan->placed = placed;
	if (is_here(range))
	{
		MadeHere   *made = palloc(sizeof(MadeHere));

		*made = (MadeHere) {.of = plan, .placed = placed};
		made_here = lappend(made_here, made);
	}
	MemoryContextSwitchTo(old);
	return placed;
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
		const char *behind = sql;
		char	   *words = words_at(&behind, range);

		if (words != NULL)
			appendStringInfoString(&text, words);
		else if ((behind = table_at(sql, range, &relid)) != NULL)
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

/* What stands in a shard for what is there, and what comes behind that; NULL: there is nothing that is of a shard. */
static char *
words_at(const char **sql, const PointstorePlacement *range)
{
	static const char *const words[][2] = {
		{IN_ONE_PLACE, IN_A_SHARD},
		{OF_THIS_FEED, "place" EQ "%s"},
		{PLACE_COLUMN, "place, "},
		{PLACE_VALUE, "%s, "},
		{LOG_COLUMNS, "place, id, "},
		{LOG_VALUES, "%s, pg_catalog.nextval('pointstore.event_store_id_seq'), "}
	};
	int			i;

	for (i = 0; i < lengthof(words); i++)
	{
		StringInfoData text;

		if (strncmp(*sql, words[i][0], strlen(words[i][0])) != 0)
			continue;
		*sql += strlen(words[i][0]);
		initStringInfo(&text);
		appendStringInfo(&text, words[i][1], quote_literal_cstr(text_to_cstring(name_of_feed(range->min, range->max))));
		return text.data;
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
