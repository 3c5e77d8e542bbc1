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
        SELECT
            relation.relname AS name,
            relation.relkind = 'r' AS is_table,
            -- A journal is a table whose trigger refuses every change; that of balances has a condition.
            EXISTS (
                SELECT FROM pg_trigger
                JOIN pg_proc ON pg_proc.oid = tgfoid
                WHERE tgrelid = relation.oid AND proname = 'refuse_change' AND tgtype & 16 > 0 AND tgqual IS NULL
            ) AS is_journal
        FROM pg_class AS relation
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')
    LOOP
        EXECUTE format('ALTER TABLE %I OWNER TO grab_owner', each.name);
        EXECUTE format('REVOKE ALL ON %I FROM PUBLIC, grab_service, grab_auditor', each.name);
        EXECUTE format('GRANT SELECT ON %I TO grab_service, grab_auditor', each.name);
        IF each.is_table AND each.name NOT IN ('schema_migrations', 'posting_rules') THEN
            EXECUTE format('GRANT INSERT ON %I TO grab_service', each.name);
            IF NOT each.is_journal THEN
                EXECUTE format('GRANT UPDATE ON %I TO grab_service', each.name);
            END IF;
        END IF;
    END LOOP;
    FOR each IN SELECT oid::regprocedure AS name FROM pg_proc WHERE pronamespace = 'public'::regnamespace LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO grab_owner', each.name);
    END LOOP;
END $$;

-- Nonces are forgotten when their timestamps have long been refused; nothing else is ever deleted.
GRANT DELETE ON request_nonces TO grab_service;
