/*-------------------------------------------------------------------------
 *
 * src/nodes/prepared.h
 *		Prepared transactions of this store's movements that other stores have.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_PREPARED_H
#define POINTSTORE_PREPARED_H

#include "nodes/pg_list.h"

#include "nodes/trip.h"

extern void pointstore_judge_prepared(List *gids, const Sender *sender, List **strangers, List **finished);

#endif							/* POINTSTORE_PREPARED_H */
