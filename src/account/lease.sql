-- src/account/lease.sql
-- Leases: locks with a name, for a time.

CREATE TYPE pointstore.lease_grant AS (
    acquired   boolean,
    token      bigint,
    holder     text,
    expires_at timestamptz
);
COMMENT ON TYPE pointstore.lease_grant IS
'What has become of an acquire_lease(): whether the lease is the caller''s, then with its token, the fence; whose it is, null where nobody has it yet and others come before; until when, null with a session.';

CREATE FUNCTION pointstore.create_leases()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- no index on what changes: a lease that changes hands leaves nothing in an index
    CREATE TABLE pointstore.lease (
        name        text COLLATE "C" PRIMARY KEY,
        holder      text,
        token       bigint NOT NULL,
        acquired_at timestamptz,
        expires_at  timestamptz
    ) WITH (fillfactor = 50);
END
$$;
COMMENT ON FUNCTION pointstore.create_leases() IS
'Creates the table of leases. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.comment_on_leases()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    COMMENT ON TABLE pointstore.lease IS 'Leases, those that have ended too: the sweep deletes them a day later. Changed by functions alone';
    COMMENT ON COLUMN pointstore.lease.name IS 'name of the lease, 1 to 520 bytes; account:X is that of account X';
    COMMENT ON COLUMN pointstore.lease.holder IS 'a label, as acquire_lease() was given it; null = it was released';
    COMMENT ON COLUMN pointstore.lease.token IS 'the last one that was given; each is larger than all before it: at least the clock in microseconds since 1970';
    COMMENT ON COLUMN pointstore.lease.acquired_at IS 'clock when it was acquired';
    COMMENT ON COLUMN pointstore.lease.expires_at IS 'clock when it ends, or was released; null = with the session that has acquired it';
END
$$;
COMMENT ON FUNCTION pointstore.comment_on_leases() IS
'Puts the comments on the table of leases. Called by create_store() and upgrade_store(); superusers only.';

CREATE FUNCTION pointstore.acquire_lease(name text, holder text, ttl interval = '30 s')
RETURNS pointstore.lease_grant LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_acquire_lease';
COMMENT ON FUNCTION pointstore.acquire_lease(text, text, interval) IS
'Acquires a lease that is nobody''s, or has expired, and returns its token; else says whose it is. Waits for nobody: not for transactions that have checked a lease which has ended, nor before those who wait in wait_for_lease(). holder: a label; the same one again does not acquire it again. ttl: how long it stands from now, by the server''s clock; null = as long as this session, or until it gives up its advisory locks (DISCARD ALL). The lease of account X is account:X. To be called in a transaction of its own: until that commits the lease is nobody else''s, and who appends to the account waits for it. 22004: null name or holder; 22023: a bad name, a ttl that is not positive.';

CREATE PROCEDURE pointstore.wait_for_lease(name text, holder text, ttl interval, wait interval,
    INOUT token bigint = NULL, INOUT expires_at timestamptz = NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'pointstore_wait_for_lease';
COMMENT ON PROCEDURE pointstore.wait_for_lease(text, text, interval, interval, bigint, timestamptz) IS
'Waits for a lease, wait at most, and acquires it: returns its token and its end, nulls at the timeout. Who waits is served in the order of arrival, as soon as the lease is released, expires or ends with its session, and all transactions that have checked it have ended; without preloading in no order, a look at most each second. Holds no snapshot while it waits, and commits the lease. ttl as for acquire_lease(). 25001: in a transaction block; else as acquire_lease().';

CREATE FUNCTION pointstore.renew_lease(name text, token bigint, ttl interval = '30 s')
RETURNS timestamptz LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_renew_lease';
COMMENT ON FUNCTION pointstore.renew_lease(text, bigint, interval) IS
'A lease ends ttl from now; returns when. Not held up by transactions that have checked it. null = as long as this session (then 55006 where it is another session''s). PS014: it has expired, or passed to another, so that there is nothing to renew; 22004: null; 22023: a ttl that is not positive.';

CREATE FUNCTION pointstore.release_lease(name text, token bigint)
RETURNS boolean LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_release_lease';
COMMENT ON FUNCTION pointstore.release_lease(text, bigint) IS
'Gives a lease back: with the commit it is nobody''s. False, and nothing is done, where it has expired or passed to another. 22004: null.';

CREATE FUNCTION pointstore.check_lease(name text, token bigint)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_check_lease';
COMMENT ON FUNCTION pointstore.check_lease(text, bigint) IS
'PS014 unless the token is that of the lease, which has not expired. Until this transaction ends it then changes hands no more, also where it expires meanwhile. 22004: null.';

CREATE FUNCTION pointstore.steal_lease(name text, holder text, ttl interval = '30 s')
RETURNS pointstore.lease_grant LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pointstore_steal_lease';
COMMENT ON FUNCTION pointstore.steal_lease(text, text, interval) IS
'An operator''s: acquires a lease whoever has it, before all who wait for it. The former holder''s token is worth nothing from then on. Transactions that have checked it are waited for, up to lock_timeout: 55P03, which names their processes. Else as acquire_lease().';
