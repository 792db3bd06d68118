/*-------------------------------------------------------------------------
 *
 * src/account/reserved.h
 *		What steps of movements keep of an account.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_RESERVED_H
#define POINTSTORE_RESERVED_H

#include "c.h"

extern int64 pointstore_open_steps(text *aggregate_id);

#endif							/* POINTSTORE_RESERVED_H */
