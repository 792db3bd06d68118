/*-------------------------------------------------------------------------
 *
 * src/verify/scan.h
 *		What a run goes through.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_VERIFY_SCAN_H
#define POINTSTORE_VERIFY_SCAN_H

#include "verify/runstate.h"

extern void pointstore_scan_store(Run *run);
extern void pointstore_scan_new_events(Run *run);
extern void pointstore_examine_open_findings(Run *run);
extern void pointstore_look_at_clock(Run *run);

#endif
