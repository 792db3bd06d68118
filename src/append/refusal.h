/*-------------------------------------------------------------------------
 *
 * src/append/refusal.h
 *		The error that a refusal is.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_REFUSAL_H
#define POINTSTORE_REFUSAL_H

#include "append/batch.h"

extern void pointstore_tell_difference(const ProposedEvent *event, Decision *decision, const ProposedEvent *stored);
extern const char *pointstore_clipped(const char *value);
extern void pointstore_check_sums(const Batch *batch, text *const *units);
pg_noreturn extern void pointstore_raise(const ProposedEvent *event, const Decision *decision);

#endif							/* POINTSTORE_REFUSAL_H */
