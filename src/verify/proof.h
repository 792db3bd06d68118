/*-------------------------------------------------------------------------
 *
 * src/verify/proof.h
 *		Up to which version accounts are proved.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_VERIFY_PROOF_H
#define POINTSTORE_VERIFY_PROOF_H

#include "verify/reading.h"

extern void pointstore_take_compared(Run *run, Tuplestorestate *rows, bool by_heap);
extern void pointstore_prove_tails(Run *run, Tuplestorestate *accounts);

#endif
