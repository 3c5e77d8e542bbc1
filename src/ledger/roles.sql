-- The vault's roles: who owns it, who serves with it, who only reads.  Run after each migration; harmless to repeat.
-- None can log in: a login with a password of its own is made a member, CREATE ROLE grab_api LOGIN IN ROLE grab_service.
DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['grab_owner', 'grab_service', 'grab_auditor'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        END IF;
    END LOOP;
END $$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO grab_service, grab_auditor;
GRANT USAGE, CREATE ON SCHEMA public TO grab_owner;

DO $$
DECLARE
    each record;
BEGIN
    FOR each IN
        SELECT relname AS name, relkind = 'r' AS is_table, pg_get_userbyid(relowner) AS owner
        FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')
    LOOP
        IF each.owner <> 'grab_owner' THEN  -- it locks the table, and others read meanwhile
            EXECUTE format('ALTER TABLE %I OWNER TO grab_owner', each.name);
        END IF;
        EXECUTE format('REVOKE ALL ON %I FROM PUBLIC, grab_service, grab_auditor', each.name);
        EXECUTE format('GRANT SELECT ON %I TO grab_service, grab_auditor', each.name);
        IF each.is_table AND each.name NOT IN ('schema_migrations', 'posting_rules') THEN
            EXECUTE format('GRANT INSERT ON %I TO grab_service', each.name);
        END IF;
    END LOOP;
    FOR each IN SELECT oid::regprocedure AS name FROM pg_proc WHERE pronamespace = 'public'::regnamespace LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO grab_owner', each.name);
    END LOOP;
    -- A temporary table could carry a trigger of somebody's own making.
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
END $$;

-- What changes at all, column by column; all else is a journal, and balances move with the rights of their owner.
GRANT UPDATE (paused, paused_until, pause_deed_no) ON stocks TO grab_service;
GRANT UPDATE (epoch, gate_run_id, sealed_at) ON rounds TO grab_service;
GRANT UPDATE (state, decision_no) ON merchants TO grab_service;
GRANT UPDATE (revoked_at) ON clients TO grab_service;
GRANT UPDATE (valid_until, revoked_at) ON client_keys TO grab_service;
-- Whoever locks a row must have the right to change some column of it.
GRANT UPDATE (loaded_at) ON campaigns TO grab_service;
GRANT UPDATE (seen_at) ON request_nonces TO grab_service;

-- Nonces are forgotten when their timestamps have long been refused, and who took tickets from where after some days;
-- nothing else is ever deleted.
GRANT DELETE ON request_nonces, address_uses TO grab_service;
