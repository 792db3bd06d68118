/*-------------------------------------------------------------------------
 *
 * src/verify/examine.h
 *		What is wrong with an account.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_VERIFY_EXAMINE_H
#define POINTSTORE_VERIFY_EXAMINE_H

/* What was found wrong with an account, of one code. */
typedef struct Finding
{
	char	   *code;
	char	   *severity;
	int64		expected;
	int64		found;
	int64		version;
	bool		no_expected;
	bool		no_found;
	bool		no_version;
	Datum		detail;
} Finding;

typedef struct Findings
{
	int			n;
	Finding	   *findings;
	bool		critical;
} Findings;

/* What a room of a floor above has to say of the store as a whole, in the active snapshot; false: nothing. */
typedef bool (*StoreCheck) (Finding *finding);

extern void pointstore_add_store_check(StoreCheck check);
extern Findings *pointstore_examine(text *id, bool by_heap);
extern bool pointstore_is_whole_store(text *id);
extern void pointstore_examine_whole_store(Findings *found);
extern Findings *pointstore_examine_now(text *id);

#endif
