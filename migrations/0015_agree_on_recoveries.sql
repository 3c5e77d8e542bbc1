-- 0015 agree on recoveries
--
-- Why    A recovery raises the epoch of every round.  Where two persons must agree, the vault takes a new epoch only with
--        a recovery's deed of the last hour, which raises each round once: so whoever has a part's password opens
--        nothing alone.  And holding, releasing or voiding a voucher compares the voucher with what was asked for, not
--        only the kind of act, whatever statement wrote it.
-- Locks  rounds, holds and hold_ends for a moment, exclusively.
-- Undo   Drop the triggers, the functions and the column.

ALTER TABLE rounds ADD COLUMN recovery_deed_no bigint,
    ADD CONSTRAINT recovery_deed_is_there FOREIGN KEY (recovery_deed_no) REFERENCES admin_deeds;

CREATE FUNCTION refuse_recovery_alone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.epoch <> OLD.epoch AND EXISTS (SELECT FROM vault_policy) AND NOT EXISTS (
        SELECT FROM admin_deeds d
        WHERE d.deed_no = NEW.recovery_deed_no AND d.deed_no > coalesce(OLD.recovery_deed_no, 0)
            AND d.action = 'recover' AND d.target IN ('gate', 'gate --from-gate')
            AND d.request_no IS NOT NULL AND d.at > now() - interval '1 hour')
    THEN
        RAISE EXCEPTION 'two persons have not agreed on this recovery' USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION refuse_other_voucher() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM events e JOIN stocks s USING (stock_no) JOIN admin_requests q ON q.request_no = NEW.request_no
        WHERE e.event_no = NEW.event_no AND s.stock_id || ':' || e.claim_no = ANY (string_to_array(q.target, ' ')))
    THEN
        RAISE EXCEPTION 'the request does not name this voucher' USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER recovery_was_agreed            BEFORE UPDATE ON rounds
    FOR EACH ROW EXECUTE FUNCTION refuse_recovery_alone();
-- After: the same statement writes the event.
CREATE TRIGGER hold_is_of_what_was_asked      AFTER INSERT ON holds
    FOR EACH ROW EXECUTE FUNCTION refuse_other_voucher();
CREATE TRIGGER hold_end_is_of_what_was_asked  AFTER INSERT ON hold_ends
    FOR EACH ROW EXECUTE FUNCTION refuse_other_voucher();

-- ALWAYS: also for a session that sets session_replication_role = replica.
ALTER TABLE rounds    ENABLE ALWAYS TRIGGER recovery_was_agreed;
ALTER TABLE holds     ENABLE ALWAYS TRIGGER hold_is_of_what_was_asked;
ALTER TABLE hold_ends ENABLE ALWAYS TRIGGER hold_end_is_of_what_was_asked;
