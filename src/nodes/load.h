/*-------------------------------------------------------------------------
 *
 * src/nodes/load.h
 *		Movements are read into the coordinator's memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_LOAD_H
#define POINTSTORE_LOAD_H

#include "nodes/live.h"

extern void pointstore_load_lives(LiveSet *set, int64 incarnation, bool all);
extern void pointstore_reload_lives(LiveSet *set, int64 incarnation);

#endif							/* POINTSTORE_LOAD_H */
