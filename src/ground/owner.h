/*-------------------------------------------------------------------------
 *
 * src/ground/owner.h
 *		Acting as the owner of the store.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_OWNER_H
#define POINTSTORE_OWNER_H

#include "ground/identity.h"

extern void pointstore_act_as_owner(PointstoreScope *scope);
extern void pointstore_act_as_reader(PointstoreScope *scope);
extern void pointstore_act_as_verifier(PointstoreScope *scope);
extern void pointstore_act_as_owner_plainly(PointstoreScope *scope, bool plain);
extern bool pointstore_lock_plain(text *of);
extern void pointstore_act_as_owner_of_holds(PointstoreScope *scope);
extern void pointstore_act_as_owner_of_leases(PointstoreScope *scope);
extern void pointstore_lock_tables(void);
extern void pointstore_forget_locks(void);

#endif							/* POINTSTORE_OWNER_H */
