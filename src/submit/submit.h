/*-------------------------------------------------------------------------
 *
 * src/submit/submit.h
 *		submit_event() and submit_transfer().
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_SUBMIT_H
#define POINTSTORE_SUBMIT_H

extern void pointstore_forget_plain_submits(void);

#endif							/* POINTSTORE_SUBMIT_H */
