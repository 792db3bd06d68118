/*-------------------------------------------------------------------------
 *
 * src/ground/preimage.h
 *		Texts of a given hash.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_PREIMAGE_H
#define POINTSTORE_PREIMAGE_H

extern text *pointstore_text_of_hash(const char *prefix, int32 hash);

#endif							/* POINTSTORE_PREIMAGE_H */
