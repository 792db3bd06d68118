/*-------------------------------------------------------------------------
 *
 * src/feed/reproject.h
 *		rebuild_projection().
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_REPROJECT_H
#define POINTSTORE_REPROJECT_H

extern void pointstore_reproject_init(void);

#endif							/* POINTSTORE_REPROJECT_H */
