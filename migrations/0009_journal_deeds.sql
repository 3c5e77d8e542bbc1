-- 0009 journal deeds
--
-- Why    Whether two persons must agree was for each operator's environment to say, and what one person
--        may do alone left no trace.  The vault itself says it now, once and for all: while the policy
--        is on, money, campaigns, keys of clients and settlements are taken only with the deed that
--        two persons agreed on, in the same transaction.  Every deed of staff is a row: who, why, what
--        was before and after.  A pause by one person ends by itself after a minute.
-- Locks  campaigns, fund_receipts, client_keys, stocks, settlements and admin_acts for a moment, exclusively.
-- Undo   Drop the triggers, the columns deed_no, file_sha256, paused_until and pause_deed_no, the two
--        tables and the functions, and restore the view of 0004.

-- One row: it is there or not, and says yes.
CREATE TABLE vault_policy (
    two_persons  boolean     PRIMARY KEY,
    set_at       timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT policy_is_never_lowered CHECK (two_persons)
);

ALTER TABLE admin_acts ADD CONSTRAINT act_has_its_person UNIQUE (request_no, done_by);
ALTER TABLE admin_requests DROP CONSTRAINT action_is_known;
ALTER TABLE admin_requests ADD CONSTRAINT action_is_known CHECK (action IN (
    'clients', 'fund', 'hold', 'open', 'pause', 'recover', 'release', 'resume', 'settle', 'void'));

CREATE TABLE admin_deeds (
    deed_no      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    action       text        NOT NULL,
    target       text        NOT NULL,
    subject      text        COLLATE "C" NOT NULL,
    reason       text        NOT NULL,
    before       jsonb,
    after        jsonb,
    request_no   bigint,                        -- what two persons agreed on; NULL for what one may do alone
    at           timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT deed_is_stated      CHECK (action ~ '^[a-z]{1,32}$' AND length(target) BETWEEN 1 AND 1000
                                          AND length(subject) BETWEEN 1 AND 64 AND length(reason) BETWEEN 1 AND 500),
    CONSTRAINT one_deed_per_act    UNIQUE (request_no),
    CONSTRAINT deed_is_of_its_act  FOREIGN KEY (request_no, subject) REFERENCES admin_acts (request_no, done_by)
);

-- What two persons agreed on is what is done; alone one can stop something for a while and take trust away.
CREATE FUNCTION refuse_other_deed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.request_no IS NOT NULL AND NOT EXISTS (
        SELECT FROM admin_requests r
        WHERE r.request_no = NEW.request_no AND r.action = NEW.action AND r.target = NEW.target
    ) OR NEW.request_no IS NULL AND NEW.action NOT IN ('pause', 'resume', 'revoke', 'policy')
        AND EXISTS (SELECT FROM vault_policy)
    THEN
        RAISE EXCEPTION 'two persons have not agreed on this: % %', NEW.action, NEW.target
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END $$;

-- Whether a deed of this transaction is what the policy asks for.
CREATE FUNCTION is_agreed(deed bigint, wanted_action text, wanted_target text) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT NOT EXISTS (SELECT FROM vault_policy) OR EXISTS (
        SELECT FROM admin_deeds d
        WHERE d.deed_no = deed AND d.action = wanted_action AND d.target = wanted_target
            AND d.request_no IS NOT NULL AND d.at = now()
    )
$$;

ALTER TABLE campaigns     ADD COLUMN file_sha256 text, ADD COLUMN deed_no bigint,
    ADD CONSTRAINT campaign_has_its_deed UNIQUE (deed_no),
    ADD CONSTRAINT campaign_deed_is_there FOREIGN KEY (deed_no) REFERENCES admin_deeds;
ALTER TABLE fund_receipts ADD COLUMN deed_no bigint,
    ADD CONSTRAINT receipt_has_its_deed UNIQUE (deed_no),
    ADD CONSTRAINT receipt_deed_is_there FOREIGN KEY (deed_no) REFERENCES admin_deeds;
ALTER TABLE client_keys   ADD COLUMN deed_no bigint,
    ADD CONSTRAINT key_has_its_deed UNIQUE (deed_no),
    ADD CONSTRAINT key_deed_is_there FOREIGN KEY (deed_no) REFERENCES admin_deeds;

CREATE FUNCTION refuse_campaign_alone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT coalesce(is_agreed(NEW.deed_no, 'open', NEW.campaign_id || ' sha256:' || NEW.file_sha256), false) THEN
        RAISE EXCEPTION 'two persons have not agreed on this campaign' USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION refuse_receipt_alone() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wanted text := (SELECT campaign_id FROM campaigns WHERE campaign_no = NEW.campaign_no) || ' ' || NEW.amount_fen
        || ' ' || NEW.reference || ' ' || to_char(NEW.received_on, 'YYYY-MM-DD');
BEGIN
    IF NOT is_agreed(NEW.deed_no, 'fund', wanted) THEN
        RAISE EXCEPTION 'two persons have not agreed on this receipt' USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END $$;

-- A client without a key can do nothing: its facts are compared when it gets its first one.
CREATE FUNCTION refuse_key_alone() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    told   text := coalesce('sha256:' || encode(sha256(NEW.public_key), 'hex'), 'a derived secret');
    wanted text := (
        SELECT CASE WHEN NEW.key_no > 1 THEN 'rotate ' || client_id || ' to ' || told
            ELSE 'add ' || client_id || ' for ' || array_to_string(scopes, ',') || ' at '
                || coalesce(nullif(array_to_string(merchants, ','), ''), 'none') || ' with ' || told
            END
        FROM clients WHERE client_id = NEW.client_id
    );
BEGIN
    IF NOT is_agreed(NEW.deed_no, 'clients', wanted) THEN
        RAISE EXCEPTION 'two persons have not agreed on this key' USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION refuse_other_settlement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM vault_policy) AND NOT EXISTS (
        SELECT FROM admin_requests r JOIN campaigns c ON c.campaign_no = NEW.campaign_no
        WHERE r.request_no = NEW.request_no AND r.action = 'settle'
            AND starts_with(r.target, c.campaign_id || '-s' || NEW.nth || ' until ')
    ) THEN
        RAISE EXCEPTION 'this settlement is not what was asked for' USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END $$;

ALTER TABLE stocks ADD COLUMN paused_until timestamptz, ADD COLUMN pause_deed_no bigint,
    ADD CONSTRAINT only_a_pause_ends CHECK (paused OR paused_until IS NULL),
    ADD CONSTRAINT pause_deed_is_there FOREIGN KEY (pause_deed_no) REFERENCES admin_deeds;

-- Alone: for a minute, once an hour, and never what two persons have decided.
CREATE FUNCTION refuse_pause_alone() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    deed      admin_deeds;
    complaint text;
BEGIN
    IF NOT EXISTS (SELECT FROM vault_policy)
        OR (NEW.paused, NEW.paused_until, NEW.pause_deed_no) IS NOT DISTINCT FROM (OLD.paused, OLD.paused_until, OLD.pause_deed_no)
    THEN
        RETURN NEW;
    END IF;
    SELECT * INTO deed FROM admin_deeds d WHERE d.deed_no = NEW.pause_deed_no;
    complaint := CASE
        WHEN deed.action IS DISTINCT FROM CASE WHEN NEW.paused THEN 'pause' ELSE 'resume' END
            OR deed.target <> NEW.stock_id OR deed.at <> now()
            THEN 'a pause or its end has a deed of its own'
        WHEN deed.request_no IS NOT NULL THEN NULL
        WHEN OLD.paused AND OLD.paused_until IS NULL
            THEN 'two persons have paused this stock: two must agree to resume it'
        WHEN NEW.paused AND NEW.paused_until IS NULL OR NEW.paused_until > now() + interval '60 s'
            THEN 'one person pauses a stock for a minute, no longer'
        WHEN NEW.paused AND EXISTS (
            SELECT FROM admin_deeds d
            WHERE d.action = 'pause' AND d.target = NEW.stock_id AND d.request_no IS NULL
                AND d.deed_no <> deed.deed_no AND d.at > now() - interval '1 hour')
            THEN 'one person has paused this stock within the last hour: two must agree to do it again'
        END;
    IF complaint IS NOT NULL THEN
        RAISE EXCEPTION '%', complaint USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER deed_is_as_agreed        BEFORE INSERT ON admin_deeds
    FOR EACH ROW EXECUTE FUNCTION refuse_other_deed();
CREATE TRIGGER campaign_was_agreed      BEFORE INSERT ON campaigns
    FOR EACH ROW EXECUTE FUNCTION refuse_campaign_alone();
CREATE TRIGGER receipt_was_agreed       BEFORE INSERT ON fund_receipts
    FOR EACH ROW EXECUTE FUNCTION refuse_receipt_alone();
CREATE TRIGGER key_was_agreed           BEFORE INSERT ON client_keys
    FOR EACH ROW EXECUTE FUNCTION refuse_key_alone();
CREATE TRIGGER settlement_was_asked_for BEFORE INSERT ON settlements
    FOR EACH ROW EXECUTE FUNCTION refuse_other_settlement();
CREATE TRIGGER pause_was_agreed         BEFORE UPDATE ON stocks
    FOR EACH ROW EXECUTE FUNCTION refuse_pause_alone();
CREATE TRIGGER vault_policy_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON vault_policy
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER admin_deeds_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON admin_deeds
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Who asked, approved, began and did what, in order.
CREATE OR REPLACE VIEW admin_journal AS
SELECT request_no, 'REQUESTED' AS step, action, target, requested_by AS subject, reason, requested_at AS at,
       NULL::jsonb AS before, NULL::jsonb AS after
FROM admin_requests
UNION ALL
SELECT request_no, 'APPROVED', action, target, approved_by, a.reason, approved_at, NULL, NULL
FROM admin_approvals a JOIN admin_requests USING (request_no)
UNION ALL
SELECT request_no, 'BEGUN', action, target, done_by, '', begun_at, NULL, NULL
FROM admin_acts JOIN admin_requests USING (request_no)
UNION ALL
SELECT request_no, 'DONE', action, target, subject, reason, at, before, after
FROM admin_deeds;

-- ALWAYS: also for a session that sets session_replication_role = replica.
ALTER TABLE admin_deeds   ENABLE ALWAYS TRIGGER deed_is_as_agreed;
ALTER TABLE campaigns     ENABLE ALWAYS TRIGGER campaign_was_agreed;
ALTER TABLE fund_receipts ENABLE ALWAYS TRIGGER receipt_was_agreed;
ALTER TABLE client_keys   ENABLE ALWAYS TRIGGER key_was_agreed;
ALTER TABLE settlements   ENABLE ALWAYS TRIGGER settlement_was_asked_for;
ALTER TABLE stocks        ENABLE ALWAYS TRIGGER pause_was_agreed;
ALTER TABLE vault_policy  ENABLE ALWAYS TRIGGER vault_policy_is_append_only;
ALTER TABLE admin_deeds   ENABLE ALWAYS TRIGGER admin_deeds_are_append_only;
