-- 0007 guard balances
--
-- Why    The trigger that moves balances has worked with the rights of whoever books a transfer, so the
--        service needed the right to change a balance, and a trigger of its own making could use it.
--        It works with its owner's rights now, and nobody else needs any.  An epoch only rises and a
--        round is sealed once: whatever else may write to rounds cannot take back either.
-- Locks  balances and rounds for a moment, exclusively: two triggers, one function.
-- Undo   Drop the trigger and its function; ALTER FUNCTION move_balances() SECURITY INVOKER RESET search_path.

ALTER FUNCTION move_balances() SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp;

CREATE FUNCTION let_rounds_only_advance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.epoch < OLD.epoch THEN
        RAISE EXCEPTION 'the epoch of a round only rises' USING ERRCODE = 'restrict_violation';
    END IF;
    IF OLD.sealed_at IS NOT NULL AND NEW.sealed_at IS DISTINCT FROM OLD.sealed_at THEN
        RAISE EXCEPTION 'a round is sealed once and for all' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER rounds_only_advance BEFORE UPDATE ON rounds
    FOR EACH ROW EXECUTE FUNCTION let_rounds_only_advance();

-- ALWAYS: also for a session that sets session_replication_role = replica.
ALTER TABLE rounds ENABLE ALWAYS TRIGGER rounds_only_advance;
