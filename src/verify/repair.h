/*-------------------------------------------------------------------------
 *
 * src/verify/repair.h
 *		What is done about findings.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_VERIFY_REPAIR_H
#define POINTSTORE_VERIFY_REPAIR_H

#include "verify/finding.h"

extern void pointstore_repair_init(void);
extern const char *pointstore_act(Case *wrong);
extern bool pointstore_can_repair(const Case *wrong);
extern Policy pointstore_read_policy(text *id);

#endif
