/*-------------------------------------------------------------------------
 *
 * src/submit/message.h
 *		What a caller and its combiner tell each other in shared memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_MESSAGE_H
#define POINTSTORE_MESSAGE_H

#include "append/judge.h"
#include "append/propose.h"
#include "money/transfer.h"

#define MESSAGE_EVENTS	POINTSTORE_TRANSFER_LEGS	/* of a request, at most */
#define MESSAGE_TEXT	7680	/* bytes of its texts, or of an error's */

typedef enum AnswerKind
{
	ANSWER_DECIDED,				/* ->decisions */
	ANSWER_ERROR,				/* ->error */
	ANSWER_GIVEN_BACK
} AnswerKind;

/* Pointers in events, decisions and error are into text: shared memory has one address in all processes. */
typedef struct Message
{
	AnswerKind	answer;
	int			nevents;
	ProposedEvent events[MESSAGE_EVENTS];
	Decision	decisions[MESSAGE_EVENTS];
	ErrorData	error;
	Size		used;			/* of text */
	char		text[MESSAGE_TEXT];
} Message;

extern bool pointstore_message_fits(const ProposedEvent *events, int n);
extern void pointstore_message_ask(Message *message, const ProposedEvent *events, int n);
extern void pointstore_message_decide(Message *message, const Decision *decisions);
extern void pointstore_message_fail(Message *message, const ErrorData *error);
extern ErrorData *pointstore_message_read(const Message *message, Decision *decisions);

#endif							/* POINTSTORE_MESSAGE_H */
