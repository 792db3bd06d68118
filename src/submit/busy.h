/*-------------------------------------------------------------------------
 *
 * src/submit/busy.h
 *		The accounts that requests wait for which a combiner has put off.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_BUSY_H
#define POINTSTORE_BUSY_H

#include "append/judge.h"
#include "append/propose.h"

extern bool pointstore_busy_is_any(void);
extern bool pointstore_busy_has(const ProposedEvent *events, int n);
extern void pointstore_busy_note(const ProposedEvent *events, const Decision *decisions, int n, bool given_back);
extern bool pointstore_busy_is_relieved(const ProposedEvent *events, const Decision *decisions, int n);
extern void pointstore_busy_forget(void);

#endif							/* POINTSTORE_BUSY_H */
