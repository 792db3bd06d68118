/*-------------------------------------------------------------------------
 *
 * src/nodes/prepared.c
 *		Prepared transactions of this store's movements that other stores have: of which movements they are.
 *
 * A sweep lists their names (trip.c). One of a movement that has finished is a leftover, and is rolled back; one of a
 * movement under way is what it should be; of one that this store does not have it knows nothing, and touches nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "ground/plan.h"
#include "ground/sql.h"
#include "nodes/prepared.h"

/* What a prepared transaction is of. */
typedef enum Judgement
{
	JUDGED_UNKNOWN,				/* no movement of this store */
	JUDGED_UNDER_WAY,
	JUDGED_FINISHED
} Judgement;

/* Names of prepared transactions that are looked at together. */
typedef struct Swept
{
	int			n;
	char	  **gids;
	bool	   *is_digest;		/* in the place of the movement's id */
	Judgement  *judgements;
	Datum		values[2];		/* ids or digests, and incarnations, as arrays */
} Swept;

/* their arguments as rows */
#define SWEPT_NAMES "ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) WITH ORDINALITY AS u (name, incarnation, place)"

/* as trip.c makes it */
#define DIGEST_OF(id) \
"('#' OPERATOR(pg_catalog.||) pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(" id ", pg_catalog.getdatabaseencoding())), 'hex'))"

/* One pass over the movements that are told by a digest, which is made once of each. */
#define BY_DIGEST(which) \
"WITH d AS MATERIALIZED (SELECT " DIGEST_OF("m.movement_id") " AS name, m.incarnation, m.finished_at IS NOT NULL AS finished FROM pointstore.movement m" \
" WHERE " which " AND m.protocol" EQ "'2pc' AND m.incarnation" EQ "ANY ($2)" \
" AND (pg_catalog.octet_length(m.movement_id)" GT CppAsString2(POINTSTORE_MAX_PLAIN_ID) " OR pg_catalog.starts_with(m.movement_id, '#'))" \
" AND " DIGEST_OF("m.movement_id") EQ "ANY ($1))" \
" SELECT u.place, d.finished FROM d JOIN " SWEPT_NAMES " ON u.name" EQ "d.name AND u.incarnation" EQ "d.incarnation"

static void split_names(List *gids, const Sender *sender, Swept *names);
static void judge_by(PointstorePlan *plan, Swept *names);
static bool has_unknown_digest(const Swept *names);

/*
 * Which of these are of no movement of this store, and which of movements that have finished: by one statement for all; where an id
 * is told by its digest by another, and where that is of no movement under way by a third. In a step, inside an SPI connection,
 * as the owner. Others' names are left out; the lists have the names that were given.
 */
void
pointstore_judge_prepared(List *gids, const Sender *sender, List **strangers, List **finished)
{
	static PointstorePlan plain = {
		.sql = "SELECT u.place, m.finished_at IS NOT NULL FROM " SWEPT_NAMES
		" JOIN pointstore.movement m ON m.movement_id" EQ "u.name AND m.incarnation" EQ "u.incarnation WHERE NOT pg_catalog.starts_with(u.name, '#')",
		.nargs = 2, .argtypes = {TEXTARRAYOID, INT8ARRAYOID}
	};
	static PointstorePlan unfinished_by_digest = {.sql = BY_DIGEST("m.finished_at IS NULL"), .nargs = 2, .argtypes = {TEXTARRAYOID, INT8ARRAYOID}};
	static PointstorePlan finished_by_digest = {.sql = BY_DIGEST("m.finished_at IS NOT NULL"), .nargs = 2, .argtypes = {TEXTARRAYOID, INT8ARRAYOID}};
	int			most = list_length(gids);
	Swept		names = {.gids = palloc(sizeof(char *) * most), .is_digest = palloc0(sizeof(bool) * most), .judgements = palloc0(sizeof(Judgement) * most)};
	int			i;

	split_names(gids, sender, &names);
	if (names.n == 0)
		return;
	judge_by(&plain, &names);
	if (has_unknown_digest(&names))
		judge_by(&unfinished_by_digest, &names);
	if (has_unknown_digest(&names))
		judge_by(&finished_by_digest, &names);
	for (i = 0; i < names.n; i++)
		if (names.judgements[i] == JUDGED_UNKNOWN)
			*strangers = lappend(*strangers, names.gids[i]);
		else if (names.judgements[i] == JUDGED_FINISHED)
			*finished = lappend(*finished, names.gids[i]);
}

/* Those that are names of ours, as the statements take them. */
static void
split_names(List *gids, const Sender *sender, Swept *names)
{
	Datum	   *ids = palloc(sizeof(Datum) * list_length(gids));
	Datum	   *incarnations = palloc(sizeof(Datum) * list_length(gids));
	ListCell   *cell;

	foreach(cell, gids)
	{
		int64		incarnation;
		char	   *movement_id;

		if (!pointstore_split_gid(lfirst(cell), sender, &incarnation, &movement_id))
			continue;
		names->gids[names->n] = lfirst(cell);
		names->is_digest[names->n] = movement_id[0] == '#';
		ids[names->n] = CStringGetTextDatum(movement_id);
		incarnations[names->n++] = Int64GetDatum(incarnation);
	}
	names->values[0] = PointerGetDatum(construct_array(ids, names->n, TEXTOID, -1, false, TYPALIGN_INT));
	names->values[1] = PointerGetDatum(construct_array(incarnations, names->n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* What a statement says of them; rows: a name's place, and whether its movement has finished. */
static void
judge_by(PointstorePlan *plan, Swept *names)
{
	MemoryContext context = CurrentMemoryContext;
	uint64		i;

	pointstore_execute(plan, names->values, NULL, false);
	MemoryContextSwitchTo(context);
	for (i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		int64		place = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));

		names->judgements[place - 1] = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull)) ?
			JUDGED_FINISHED : JUDGED_UNDER_WAY;
	}
	SPI_freetuptable(SPI_tuptable);
}

static bool
has_unknown_digest(const Swept *names)
{
	int			i;

	for (i = 0; i < names->n; i++)
		if (names->is_digest[i] && names->judgements[i] == JUDGED_UNKNOWN)
			return true;
	return false;
}
