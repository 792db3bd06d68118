/*-------------------------------------------------------------------------
 *
 * src/ground/pointstore.h
 *		What all rooms need: the SQLSTATEs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_POINTSTORE_H
#define POINTSTORE_POINTSTORE_H

#include "fmgr.h"

#define ERRCODE_POINTSTORE_VERSION_CONFLICT		MAKE_SQLSTATE('P','S','0','0','1')
#define ERRCODE_POINTSTORE_REQUEST_MISMATCH		MAKE_SQLSTATE('P','S','0','0','2')
#define ERRCODE_POINTSTORE_INSUFFICIENT_BALANCE	MAKE_SQLSTATE('P','S','0','0','3')
#define ERRCODE_POINTSTORE_ACCOUNT_FROZEN		MAKE_SQLSTATE('P','S','0','0','4')
#define ERRCODE_POINTSTORE_ACCOUNT_CLOSED		MAKE_SQLSTATE('P','S','0','0','5')
#define ERRCODE_POINTSTORE_APPEND_ONLY			MAKE_SQLSTATE('P','S','0','0','6')
#define ERRCODE_POINTSTORE_HOLD_NOT_OPEN			MAKE_SQLSTATE('P','S','0','0','7')
#define ERRCODE_POINTSTORE_ACCOUNT_MISSING		MAKE_SQLSTATE('P','S','0','0','8')
#define ERRCODE_POINTSTORE_BALANCE_LIMIT		MAKE_SQLSTATE('P','S','0','0','9')
#define ERRCODE_POINTSTORE_UNPAIRED_CHANGE		MAKE_SQLSTATE('P','S','0','1','0')
#define ERRCODE_POINTSTORE_NOT_ALLOWED			MAKE_SQLSTATE('P','S','0','1','1')
#define ERRCODE_POINTSTORE_TRANSITION_NOT_ALLOWED MAKE_SQLSTATE('P','S','0','1','2')
#define ERRCODE_POINTSTORE_LEASE_LOST			MAKE_SQLSTATE('P','S','0','1','4')

#endif							/* POINTSTORE_POINTSTORE_H */
