/*-------------------------------------------------------------------------
 *
 * src/ground/delegation.h
 *		Calls that Citus delegates to other nodes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_DELEGATION_H
#define POINTSTORE_DELEGATION_H

extern void pointstore_delegation_init(void);

#endif							/* POINTSTORE_DELEGATION_H */
