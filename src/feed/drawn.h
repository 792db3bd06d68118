/*-------------------------------------------------------------------------
 *
 * src/feed/drawn.h
 *		Which ids the sequence has drawn.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_DRAWN_H
#define POINTSTORE_DRAWN_H

/* What the sequence has drawn: ids of its class, which is told by the last. */
typedef struct Drawn
{
	int64		last;
	int64		increment;
	int64		lowest;
} Drawn;

extern void pointstore_read_drawn(Drawn *drawn);
extern bool pointstore_is_of_class(const Drawn *drawn, int64 id);
extern void pointstore_widen_class(Drawn *drawn, int64 step, int64 id);

#endif							/* POINTSTORE_DRAWN_H */
