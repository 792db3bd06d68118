/*-------------------------------------------------------------------------
 *
 * src/account/status.h
 *		Changes of an account's status or kind.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_STATUS_H
#define POINTSTORE_STATUS_H

extern void pointstore_freeze(text *id, text *reason);

#endif							/* POINTSTORE_STATUS_H */
