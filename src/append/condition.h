/*-------------------------------------------------------------------------
 *
 * src/append/condition.h
 *		Conditions: what a call rests on without changing it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_CONDITION_H
#define POINTSTORE_CONDITION_H

#include "append/write.h"

extern void pointstore_read_conditions(BatchWork *work);
extern void pointstore_judge_conditions(BatchWork *work);

#endif							/* POINTSTORE_CONDITION_H */
