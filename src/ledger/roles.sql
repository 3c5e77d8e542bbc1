-- The vault's roles: who owns it, who serves, records and decides with it, who only reads.  Run after each migration;
-- harmless to repeat.  None can log in before it is given a password: ALTER ROLE grab_api LOGIN PASSWORD '…'.
-- grab_service may what the three parts may together, for those who run them under one login.
DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY
        ARRAY['grab_owner', 'grab_api', 'grab_ledger', 'grab_staff', 'grab_service', 'grab_auditor']
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        END IF;
    END LOOP;
    -- Those that were logins of the one role once.
    FOR role_name IN
        SELECT member.rolname FROM pg_auth_members
        JOIN pg_roles AS given ON given.oid = roleid
        JOIN pg_roles AS member ON member.oid = pg_auth_members.member
        WHERE given.rolname = 'grab_service' AND member.rolname IN ('grab_api', 'grab_ledger', 'grab_staff')
    LOOP
        EXECUTE format('REVOKE grab_service FROM %I', role_name);
    END LOOP;
END $$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO grab_api, grab_ledger, grab_staff, grab_service, grab_auditor;
GRANT USAGE, CREATE ON SCHEMA public TO grab_owner;

DO $$
DECLARE
    each record;
BEGIN
    FOR each IN
        SELECT relname AS name, pg_get_userbyid(relowner) AS owner
        FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')
    LOOP
        IF each.owner <> 'grab_owner' THEN  -- it locks the table, and others read meanwhile
            EXECUTE format('ALTER TABLE %I OWNER TO grab_owner', each.name);
        END IF;
        EXECUTE format('REVOKE ALL ON %I FROM PUBLIC, grab_api, grab_ledger, grab_staff, grab_service, grab_auditor', each.name);
        EXECUTE format('GRANT SELECT ON %I TO grab_api, grab_ledger, grab_staff, grab_auditor', each.name);
    END LOOP;
    FOR each IN SELECT oid::regprocedure AS name FROM pg_proc WHERE pronamespace = 'public'::regnamespace LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO grab_owner', each.name);
    END LOOP;
    -- A temporary table could carry a trigger of somebody's own making.
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
END $$;

-- What each part adds.  The API answers tills, merchants and staff; it records no claim, takes no money and lets nobody in.
GRANT INSERT ON accounts, balances, events, transfers, requests, redemptions, reversals, refunds, merchants,
    merchant_decisions, request_nonces, address_uses, unknown_codes, admin_acts, admin_deeds TO grab_api;
-- The workers record claims, expire vouchers, end rounds, seal, and tell what is strange.
GRANT INSERT ON claims, dead_letters, accounts, balances, events, transfers, journals, sealed_blocks, sealed_rows, signals,
    admin_deeds TO grab_ledger;
-- People at the command line open, decide, hold, settle and recover.
GRANT INSERT ON campaigns, rounds, stocks, vouchers, claims, dead_letters, accounts, balances, events, transfers, fund_receipts,
    merchants, merchant_decisions, clients, client_keys, holds, hold_ends, signals, journals, sealed_blocks, sealed_rows,
    settlements, settlement_lines, settlement_items, settlement_payouts, settlement_comparisons, settlement_acceptances,
    admin_requests, admin_approvals, admin_acts, admin_deeds TO grab_staff;
-- Whoever stores a stock draws its number himself.
GRANT USAGE ON SEQUENCE stocks_stock_no_seq TO grab_staff;

-- What changes at all, column by column; all else is a journal, and balances move with the rights of their owner.
GRANT UPDATE (paused, paused_until, pause_deed_no) ON stocks TO grab_api, grab_ledger, grab_staff;
GRANT UPDATE (sealed_at) ON rounds TO grab_ledger, grab_staff;
GRANT UPDATE (epoch, gate_run_id, recovery_deed_no) ON rounds TO grab_staff;
GRANT UPDATE (state, decision_no) ON merchants TO grab_api, grab_staff;
GRANT UPDATE (revoked_at) ON clients TO grab_staff;
GRANT UPDATE (valid_until, revoked_at) ON client_keys TO grab_staff;
GRANT UPDATE (counted, since, locked_at) ON unknown_codes TO grab_api;
GRANT UPDATE (counted, locked_at, unlock_deed_no) ON unknown_codes TO grab_staff;
-- Whoever locks a row must have the right to change some column of it.
GRANT UPDATE (loaded_at) ON campaigns TO grab_staff;
GRANT UPDATE (seen_at) ON request_nonces TO grab_api;

-- Nonces are forgotten when their timestamps have long been refused, and who took tickets from where after some days;
-- nothing else is ever deleted.
GRANT DELETE ON request_nonces, address_uses TO grab_api;
GRANT DELETE ON address_uses TO grab_ledger;

GRANT grab_api, grab_ledger, grab_staff TO grab_service;
