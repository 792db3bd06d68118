/*-------------------------------------------------------------------------
 *
 * src/ground/identity.h
 *		Acting as another role.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_IDENTITY_H
#define POINTSTORE_IDENTITY_H

/* The identity to go back to. */
typedef struct PointstoreScope
{
	Oid			user;
	int			security;
	int			guc_level;		/* 0: search_path was left alone */
} PointstoreScope;

/* How one acts as another: with no way back to the caller's role, and where it matters with nothing left behind. */
#define POINTSTORE_AS_OWNER (SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS)
#define POINTSTORE_RESTRICTED (POINTSTORE_AS_OWNER | SECURITY_RESTRICTED_OPERATION)

extern void pointstore_identity_init(void);
extern void pointstore_at_truncate(void (*refuse) (void));
extern void pointstore_act_as(Oid role, PointstoreScope *scope, bool plainly);
extern void pointstore_act_as_restricted(Oid role, PointstoreScope *scope);
extern void pointstore_act_for_others(Oid role, PointstoreScope *scope);
extern void pointstore_pin_formats(void);
extern void pointstore_act_as_caller(const PointstoreScope *scope);
extern void pointstore_set_option(const char *name, const char *value);
extern char *pointstore_role_name(Oid role);
extern bool pointstore_is_operator(Oid role);
extern bool pointstore_acts_for(text *name, Oid role);
extern void pointstore_require_operator(Oid role, const char *what);

#endif							/* POINTSTORE_IDENTITY_H */
