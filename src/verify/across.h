/*-------------------------------------------------------------------------
 *
 * src/verify/across.h
 *		Movements whose legs are on several nodes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_VERIFY_ACROSS_H
#define POINTSTORE_VERIFY_ACROSS_H

#include "verify/runstate.h"

extern void pointstore_compare_across(Run *run);
extern bool pointstore_acknowledge_across(int64 number, Oid by);

#endif							/* POINTSTORE_VERIFY_ACROSS_H */
