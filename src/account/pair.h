/*-------------------------------------------------------------------------
 *
 * src/account/pair.h
 *		Rows and events written by hand belong together.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_PAIR_H
#define POINTSTORE_PAIR_H

extern void pointstore_check_pairs(void);
extern bool pointstore_is_unpaired(text *id);

#endif							/* POINTSTORE_PAIR_H */
