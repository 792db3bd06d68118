-- src/feed/replay.sql
-- Whether other logic makes other states.

CREATE PROCEDURE pointstore.verify_replay(kind text, reducer regprocedure = NULL, sample double precision = 1, INOUT run bigint = NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_verify_replay';
COMMENT ON PROCEDURE pointstore.verify_replay(text, regprocedure, double precision, bigint) IS
'Goes through the events of a kind''s accounts with its reducer and with another one, and notes in pointstore.replay_difference each account whose states differ, with the first version at which they do; or, without another reducer, each whose snapshots are not what its events come to. Where a reducer fails that is noted too. Of the accounts the part sample (above 0 up to 1), by a hash of their ids: the same ones each time. In slices that commit; pointstore.replay_run shows how far it is. run: null = a new one, whose number is returned; of a run that has not ended, with the same arguments (22023): it goes on, and where another session is at it the two share its slices, and both return when all are done. What a session that has ended was at is left to the others. 22004: null; 22023: sample, a kind or a run that is not there; 42501: who calls may not have the reducer called; 55000: the kind has no reducer, or the run was dropped; 2D000: in a transaction block; 25006: on a standby.';

CREATE FUNCTION pointstore.create_replays()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE TABLE pointstore.replay_run (
        run            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        kind           text NOT NULL,
        reducer        text,
        sample         double precision NOT NULL,
        started_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
        finished_at    timestamptz,
        upto           text COLLATE "C" NOT NULL DEFAULT '',
        accounts       bigint NOT NULL DEFAULT 0,
        accounts_total bigint,
        events         bigint NOT NULL DEFAULT 0,
        differences    bigint NOT NULL DEFAULT 0
    );
    CREATE TABLE pointstore.replay_slice (
        run   bigint NOT NULL,
        after text COLLATE "C" NOT NULL,
        upto  text COLLATE "C" NOT NULL,
        PRIMARY KEY (run, upto)
    );
    CREATE TABLE pointstore.replay_difference (
        run          bigint NOT NULL,
        aggregate_id text COLLATE "C" NOT NULL,
        version      bigint NOT NULL,
        before       jsonb,
        after        jsonb,
        error        text,
        PRIMARY KEY (run, aggregate_id)
    );
END
$$;
COMMENT ON FUNCTION pointstore.create_replays() IS
'Creates the tables of verify_replay(). Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.comment_on_replays()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    COMMENT ON TABLE pointstore.replay_run IS 'Runs of verify_replay(), and how far they are: written slice by slice';
    COMMENT ON COLUMN pointstore.replay_run.run IS 'number of the run';
    COMMENT ON COLUMN pointstore.replay_run.kind IS 'whose accounts are gone through';
    COMMENT ON COLUMN pointstore.replay_run.reducer IS 'the other reducer; null: snapshots are compared';
    COMMENT ON COLUMN pointstore.replay_run.sample IS 'which part of the accounts, by a hash of their ids';
    COMMENT ON COLUMN pointstore.replay_run.started_at IS 'clock when it began';
    COMMENT ON COLUMN pointstore.replay_run.finished_at IS 'clock when it ended; null: it is under way, or was interrupted';
    COMMENT ON COLUMN pointstore.replay_run.upto IS 'the last account that is in a slice, in the order of the bytes of their ids; those after it are in none yet';
    COMMENT ON COLUMN pointstore.replay_run.accounts IS 'accounts gone through';
    COMMENT ON COLUMN pointstore.replay_run.accounts_total IS 'accounts to go through, when it began';
    COMMENT ON COLUMN pointstore.replay_run.events IS 'events gone through';
    COMMENT ON COLUMN pointstore.replay_run.differences IS 'accounts that differ';

    COMMENT ON TABLE pointstore.replay_slice IS 'Accounts of a run of verify_replay() that a session is at, which has the row locked, or that one was when it ended';
    COMMENT ON COLUMN pointstore.replay_slice.run IS 'the run';
    COMMENT ON COLUMN pointstore.replay_slice.after IS 'the last account before it, or the last of it that was gone through';
    COMMENT ON COLUMN pointstore.replay_slice.upto IS 'its last account';

    COMMENT ON TABLE pointstore.replay_difference IS 'Accounts of which verify_replay() has found that their states differ';
    COMMENT ON COLUMN pointstore.replay_difference.run IS 'the run';
    COMMENT ON COLUMN pointstore.replay_difference.aggregate_id IS 'the account';
    COMMENT ON COLUMN pointstore.replay_difference.version IS 'version of the first event after which they differ, or at which one was not to be had';
    COMMENT ON COLUMN pointstore.replay_difference.before IS 'the state by the kind''s reducer, or of the snapshot; null: not to be had';
    COMMENT ON COLUMN pointstore.replay_difference.after IS 'the state by the other reducer, or by the events; null: not to be had';
    COMMENT ON COLUMN pointstore.replay_difference.error IS 'SQLSTATE and message, or the beginning of it, of the one that failed; null: none';
END
$$;
COMMENT ON FUNCTION pointstore.comment_on_replays() IS
'Puts the comments on the tables of verify_replay(). Called by create_store() and upgrade_store(); superusers only.';
