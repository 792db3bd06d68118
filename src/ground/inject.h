/*-------------------------------------------------------------------------
 *
 * src/ground/inject.h
 *		Named points at which tests let something happen.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_INJECT_H
#define POINTSTORE_INJECT_H

/* What happens at points; null, as it is wherever no test runs: nothing. */
extern void (*pointstore_injection) (const char *point);

/* A point. Not in a critical section, nor with a lightweight lock or a spinlock held. */
#define POINTSTORE_INJECT(point) \
	do { \
		if (unlikely(pointstore_injection != NULL)) \
			pointstore_injection(point); \
	} while (0)

extern void pointstore_inject_init(void);

#endif							/* POINTSTORE_INJECT_H */
