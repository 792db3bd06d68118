/*-------------------------------------------------------------------------
 *
 * src/ground/detail.h
 *		The DETAIL of refusals, and errors in a line.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_DETAIL_H
#define POINTSTORE_DETAIL_H

#include "lib/stringinfo.h"

extern void pointstore_detail(StringInfo detail, const char *key, const char *value);
extern void pointstore_detail_number(StringInfo detail, const char *key, int64 value);
extern int	pointstore_detail_account(text *id);
extern int	pointstore_detail_figures(text *id, const char *a, int64 x, const char *b, int64 y);
extern char *pointstore_error_line(int sqlerrcode, const char *message);

#endif							/* POINTSTORE_DETAIL_H */
