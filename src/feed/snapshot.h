/*-------------------------------------------------------------------------
 *
 * src/feed/snapshot.h
 *		States that are kept.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_SNAPSHOT_H
#define POINTSTORE_SNAPSHOT_H

#include "feed/state.h"

extern bool pointstore_bring_snapshot(const StateAccount *account, int64 every);

#endif							/* POINTSTORE_SNAPSHOT_H */
