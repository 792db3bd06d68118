/*-------------------------------------------------------------------------
 *
 * src/feed/check.h
 *		Whether the feed is what it promises to be.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_CHECK_H
#define POINTSTORE_CHECK_H

#include "verify/examine.h"

extern bool pointstore_examine_feed(Finding *finding);

#endif							/* POINTSTORE_CHECK_H */
