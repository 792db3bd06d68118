/*-------------------------------------------------------------------------
 *
 * src/verify/acknowledge.h
 *		What an operator has acknowledged.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_VERIFY_ACKNOWLEDGE_H
#define POINTSTORE_VERIFY_ACKNOWLEDGE_H

#include "verify/examine.h"

extern bool pointstore_is_acknowledged(text *id, const Finding *finding);

#endif
