-- 0013 lock guessing tills
--
-- Why    Unknown voucher codes were counted in each process by itself, and forgotten after a minute.  Here they are
--        counted for a caller and merchant whichever process is asked, and after too many within a day the pair is
--        locked until staff have looked: a lock is lifted with a deed that says who did it and why.
-- Locks  None: a new table, and a function that triggers call.
-- Undo   Drop the table and its function, and restore refuse_other_deed of 0009; unknown codes are counted no more then.

CREATE TABLE unknown_codes (
    caller          text        COLLATE "C" NOT NULL,
    merchant_no     text        COLLATE "C" NOT NULL,  -- as the caller said it; there may be no such merchant
    counted         integer     NOT NULL,              -- since then, for a day
    since           timestamptz NOT NULL,
    locked_at       timestamptz,
    unlock_deed_no  bigint,                            -- of the last time

    CONSTRAINT one_count_per_caller_and_merchant PRIMARY KEY (caller, merchant_no),
    CONSTRAINT count_is_not_negative             CHECK (counted >= 0),
    CONSTRAINT unlock_deed_is_there              FOREIGN KEY (unlock_deed_no) REFERENCES admin_deeds
);

CREATE FUNCTION refuse_silent_unlock() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.locked_at IS NOT NULL
        AND (NEW.caller, NEW.merchant_no, NEW.locked_at) IS DISTINCT FROM (OLD.caller, OLD.merchant_no, OLD.locked_at)
        AND NOT EXISTS (
            SELECT FROM admin_deeds d
            WHERE d.deed_no = NEW.unlock_deed_no AND d.action = 'unlock' AND d.at = now()
                AND d.target = OLD.caller || ' ' || OLD.merchant_no)
    THEN
        RAISE EXCEPTION 'a lock is lifted with a deed' USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER lock_is_lifted_by_a_deed       BEFORE UPDATE ON unknown_codes
    FOR EACH ROW EXECUTE FUNCTION refuse_silent_unlock();
CREATE TRIGGER unknown_codes_are_never_removed BEFORE DELETE OR TRUNCATE ON unknown_codes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE unknown_codes ENABLE ALWAYS TRIGGER lock_is_lifted_by_a_deed;
ALTER TABLE unknown_codes ENABLE ALWAYS TRIGGER unknown_codes_are_never_removed;

-- As in 0009; letting a till go on needs nobody else.
CREATE OR REPLACE FUNCTION refuse_other_deed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.request_no IS NOT NULL AND NOT EXISTS (
        SELECT FROM admin_requests r
        WHERE r.request_no = NEW.request_no AND r.action = NEW.action AND r.target = NEW.target
    ) OR NEW.request_no IS NULL AND NEW.action NOT IN ('pause', 'resume', 'revoke', 'policy', 'unlock')
        AND EXISTS (SELECT FROM vault_policy)
    THEN
        RAISE EXCEPTION 'two persons have not agreed on this: % %', NEW.action, NEW.target
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END $$;
