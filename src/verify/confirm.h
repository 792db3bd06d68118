/*-------------------------------------------------------------------------
 *
 * src/verify/confirm.h
 *		Accounts that look wrong are examined, and dealt with.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_VERIFY_CONFIRM_H
#define POINTSTORE_VERIFY_CONFIRM_H

#include "verify/index.h"
#include "verify/runstate.h"

extern void pointstore_confirm(Run *run, const char *account, bool by_heap, const HeapView *heap);

#endif
