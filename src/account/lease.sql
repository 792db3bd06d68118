-- src/account/lease.sql
-- Leases: locks with a name, for a time.

CREATE FUNCTION pointstore.create_leases()
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CREATE TABLE pointstore.lease (
        name        text COLLATE "C" PRIMARY KEY,
        holder      text,
        token       bigint NOT NULL,
        acquired_at timestamptz,
        expires_at  timestamptz,
        UNIQUE (name, token)
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
    COMMENT ON TABLE pointstore.lease IS 'Leases: who holds which name, and until when';
    COMMENT ON COLUMN pointstore.lease.name IS 'name of the lease; account:X is that of account X';
    COMMENT ON COLUMN pointstore.lease.holder IS 'a label, as the caller gave it; null = nobody';
    COMMENT ON COLUMN pointstore.lease.token IS 'the fence: grows whenever the lease changes hands';
    COMMENT ON COLUMN pointstore.lease.acquired_at IS 'when it was acquired';
    COMMENT ON COLUMN pointstore.lease.expires_at IS 'when it ends unless it is renewed; null = with its holder''s session';
END
$$;
COMMENT ON FUNCTION pointstore.comment_on_leases() IS
'Puts the comments on the table of leases. Called by create_store() and upgrade_store(); superusers only.';
