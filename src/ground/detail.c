/*-------------------------------------------------------------------------
 *
 * src/ground/detail.c
 *		The DETAIL of refusals, which is for programs: key=value, separated by comma and blank. Errors in a line.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/json.h"

#include "ground/detail.h"
#include "ground/name.h"

#define LONGEST_ERROR 1000		/* bytes of an error's message that are kept */

/*
 * Adds key=value to the DETAIL of a refusal, which is for programs: a value in which there is
 * anything that would end it, or nothing, is a JSON string.
 */
void
pointstore_detail(StringInfo detail, const char *key, const char *value)
{
	const unsigned char *c;

	if (value == NULL)
		value = "null";
	c = (const unsigned char *) value;
	while (*c > ' ' && *c != 0x7f && strchr(",=\"\\", *c) == NULL)
		c++;
	appendStringInfo(detail, "%s%s=", detail->len > 0 ? ", " : "", key);
	if (*c == '\0' && *value != '\0')
		appendStringInfoString(detail, value);
	else
		escape_json(detail, value);
}

/* The same for a number. */
void
pointstore_detail_number(StringInfo detail, const char *key, int64 value)
{
	appendStringInfo(detail, "%s%s=" INT64_FORMAT, detail->len > 0 ? ", " : "", key, value);
}

/* An error in a line: its SQLSTATE and its message, or the beginning of it. */
char *
pointstore_error_line(int sqlerrcode, const char *message)
{
	int			length = message == NULL ? 0 : pg_mbcliplen(message, strnlen(message, LONGEST_ERROR), LONGEST_ERROR);

	return psprintf("%s: %.*s", unpack_sql_state(sqlerrcode), length, message == NULL ? "" : message);
}

/* errdetail() of a refusal about which there is nothing to tell but its account. */
int
pointstore_detail_account(text *id)
{
	return pointstore_detail_figures(id, NULL, 0, NULL, 0);
}

/* The same with two figures; without a key there is none. */
int
pointstore_detail_figures(text *id, const char *a, int64 x, const char *b, int64 y)
{
	StringInfoData detail;

	initStringInfo(&detail);
	pointstore_detail(&detail, "aggregate_id", pointstore_cstring(id));
	if (a != NULL)
		pointstore_detail_number(&detail, a, x);
	if (b != NULL)
		pointstore_detail_number(&detail, b, y);
	return errdetail_internal("%s", detail.data);
}
