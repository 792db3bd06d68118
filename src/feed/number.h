/*-------------------------------------------------------------------------
 *
 * src/feed/number.h
 *		The number by which members know a slot.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_NUMBER_H
#define POINTSTORE_NUMBER_H

#include "postgres.h"

extern int16 pointstore_number_of_slot(int16 slot);
extern int16 pointstore_go_to_slot(text *subscription, int16 number);

#endif							/* POINTSTORE_NUMBER_H */
