/*-------------------------------------------------------------------------
 *
 * src/nodes/protocol.h
 *		What follows what in a movement, at its coordinator and at its participants.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_PROTOCOL_H
#define POINTSTORE_PROTOCOL_H

typedef enum MovementProtocol
{
	PROTOCOL_TCC,
	PROTOCOL_SAGA,
	PROTOCOL_2PC
} MovementProtocol;

#define N_PROTOCOLS (PROTOCOL_2PC + 1)

/* Where a movement is, at its coordinator. */
typedef enum MovementPhase
{
	PHASE_TRYING,
	PHASE_CONFIRMING,
	PHASE_CONFIRMED,
	PHASE_CANCELLING,
	PHASE_CANCELLED,
	PHASE_DOING,
	PHASE_DONE,
	PHASE_UNDOING,
	PHASE_UNDONE,
	PHASE_STUCK,
	PHASE_ACCEPTED
} MovementPhase;

#define N_PHASES (PHASE_ACCEPTED + 1)

/* What the coordinator knows of a step. */
typedef enum StepStatus
{
	STEP_PENDING,				/* nothing, or nothing that counts any more */
	STEP_TRIED,
	STEP_REFUSED,
	STEP_DONE,					/* saga */
	STEP_CONFIRMED,
	STEP_CANCELLED,
	STEP_UNDONE,				/* saga */
	STEP_MISSING,				/* the participant has no row where it must have one */
	STEP_FAILED					/* a user's constraint or trigger has refused what may not be refused, or the account is gone */
} StepStatus;

#define N_STEP_STATUSES (STEP_FAILED + 1)

/* What a participant is asked. */
typedef enum MovementVerb
{
	VERB_NONE,
	VERB_TRY,					/* saga: do; 2pc: prepare */
	VERB_CONFIRM,				/* saga: it is not undone any more; 2pc: commit */
	VERB_CANCEL					/* saga: undo; 2pc: abort */
} MovementVerb;

/* What it answers. */
typedef enum MovementAnswer
{
	ANSWER_TRIED,
	ANSWER_DONE,
	ANSWER_REFUSED,
	ANSWER_CONFIRMED,
	ANSWER_CANCELLED,			/* undone, a tombstone */
	ANSWER_MISSING,
	ANSWER_CLOSED,				/* below what is finished */
	ANSWER_FAILED,
	ANSWER_BUSY					/* nothing was decided: to be asked again */
} MovementAnswer;

#define N_ANSWERS (ANSWER_BUSY + 1)

/* A participant's row. */
typedef enum PartStatus
{
	PART_NONE,
	PART_TRIED,
	PART_DONE,					/* saga: may still be undone */
	PART_CONFIRMED,
	PART_CANCELLED,				/* undone, a tombstone */
	PART_BELOW					/* none, and the movement's number is below what is finished */
} PartStatus;

#define N_PART_STATUSES (PART_BELOW + 1)

/* What a participant does about a message; whatever it does it answers with (ParticipantRule.answer). */
typedef enum ParticipantAct
{
	ACT_NOTHING,				/* the answer alone: a replay, or what the row says */
	ACT_RESERVE,				/* try: tcc reserves, saga and 2pc apply the amount; may be refused */
	ACT_APPLY,					/* confirm: the reserved amount is applied */
	ACT_RELEASE,				/* cancel: what was reserved is given back; 2pc never gets there */
	ACT_UNDO,					/* cancel of a done saga step */
	ACT_KEEP,					/* confirm of a done saga step */
	ACT_TOMBSTONE				/* cancel of what is not there yet */
} ParticipantAct;

typedef struct ParticipantRule
{
	ParticipantAct act;
	MovementAnswer answer;		/* when the act succeeds */
	PartStatus	becomes;
} ParticipantRule;

extern const ParticipantRule *pointstore_participant_rule(MovementProtocol protocol, PartStatus row, MovementVerb verb);

/*
 * How the coordinator drives a movement with these: at its start and after a restart every
 * step is as pointstore_step_after_restart() says. It sends pointstore_next_message() of each
 * step. An answer changes the step by pointstore_step_after() with the phase in which the row
 * is found locked, then the phase becomes pointstore_next_phase(), again until it stays. What
 * rests on a phase leaves after the commit of that phase. It is driven until
 * pointstore_is_finished().
 *
 * An operator's word: pointstore_may_resolve(), then all steps by pointstore_step_resolved()
 * and the phase by pointstore_resolved_phase(); what is decided is not cancelled any more,
 * whatever the deadline is.
 *
 * The coordinator's own steps of 2pc are sent and applied as PROTOCOL_TCC's, at its participant.
 */

/* A movement as its coordinator knows it. Steps in their order; the coordinator's own are marked. */
typedef struct MovementView
{
	MovementProtocol protocol;
	MovementPhase phase;
	bool		gives_up;		/* deadline passed, cancelled, units do not add up: while it is not decided */
	int			nsteps;
	const StepStatus *status;
	const bool *local;			/* the step is the coordinator's own */
	bool		asks_all;		/* it began in an earlier incarnation of this store: all steps are asked before anything is decided */
} MovementView;

typedef enum Resolution
{
	RESOLVE_CONFIRM,
	RESOLVE_CANCEL,
	RESOLVE_ACCEPT
} Resolution;

extern StepStatus pointstore_step_after(MovementProtocol protocol, MovementPhase phase, StepStatus status, MovementAnswer answer);
extern StepStatus pointstore_step_after_restart(MovementPhase phase, StepStatus status, bool local);
extern StepStatus pointstore_step_resolved(MovementProtocol protocol, Resolution decision, StepStatus status);
extern MovementPhase pointstore_next_phase(const MovementView *movement);
extern MovementVerb pointstore_next_message(const MovementView *movement, int step);
extern bool pointstore_is_settled(MovementPhase phase);
extern bool pointstore_is_finished(const MovementView *movement);
extern bool pointstore_may_resolve(const MovementView *movement, bool decided_confirm, bool decided_cancel, Resolution decision);
extern MovementPhase pointstore_resolved_phase(MovementProtocol protocol, Resolution decision);

/* Names, as they are stored and sent; -1: no such name. */
extern const char *const pointstore_protocol_names[];
extern const char *const pointstore_phase_names[];
extern const char *const pointstore_step_names[];
extern const char *const pointstore_verb_names[];
extern const char *const pointstore_answer_names[];
extern const char *const pointstore_part_names[];

#endif							/* POINTSTORE_PROTOCOL_H */
