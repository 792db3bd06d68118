/*-------------------------------------------------------------------------
 *
 * src/submit/serve.h
 *		What a combiner does with the requests that it takes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_SERVE_H
#define POINTSTORE_SERVE_H

#include "submit/queue.h"

extern void pointstore_serve_init(void);
extern int	pointstore_serve_take(Queue *queue);
extern int	pointstore_serve_fresh(void);
extern bool pointstore_serve_is_due(void);
extern long pointstore_serve_pause(void);
extern void pointstore_serve(void);
extern void pointstore_serve_give_back(void);

#endif							/* POINTSTORE_SERVE_H */
