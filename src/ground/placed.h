/*-------------------------------------------------------------------------
 *
 * src/ground/placed.h
 *		Statements of ours about the rows of one account, or of one shard.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_PLACED_H
#define POINTSTORE_PLACED_H

#include "ground/plan.h"
#include "ground/shard.h"

/* Where statements mean the rows that do not say of which shard they are: nowhere, or in a range. */
typedef struct PointstorePlace
{
	bool		is_range;
	int32		min;
	int32		max;
} PointstorePlace;

extern void pointstore_placed_init(void);
extern bool pointstore_next_place(int64 *hash);
extern bool pointstore_next_free_place(int64 *hash, bool *passed);
extern void pointstore_go_to(text *of);
extern bool pointstore_go_to_shard(int64 shard);
extern PointstorePlace pointstore_here(void);
extern int64 pointstore_shard_here(void);
extern void pointstore_return_to(PointstorePlace place);
extern void pointstore_leave_place(void);
extern void pointstore_forget_places(void);
extern bool pointstore_stays_with(text *of);
extern text *pointstore_name_of_place(void);
extern text *pointstore_name_of_feed(void);
extern text *pointstore_anybody_here(void);
extern text *pointstore_name_in_shard(int64 shard);
extern Oid	pointstore_relation_here(PointstoreTableId table);
extern void pointstore_note_written_here(void);
extern void pointstore_show_shards(void);
extern const char *pointstore_text_here(const char *sql);
extern void pointstore_execute_of(PointstorePlan *plan, text *of, Datum *values, const char *nulls, bool read_only);
extern void pointstore_write_of(PointstorePlan *plan, text *of, Datum *values, const char *nulls);
extern void pointstore_execute_rules(PointstorePlan *plan, Datum *values, const char *nulls, bool read_only);
extern void pointstore_execute_in(PointstorePlan *plan, PointstorePlacement *range, Datum *values, const char *nulls, bool read_only);
extern PointstorePlan *pointstore_plan_in(PointstorePlan *plan, PointstorePlacement *range);
extern PointstorePlan *pointstore_plan_of(PointstorePlan *plan, text *of);

#endif							/* POINTSTORE_PLACED_H */
