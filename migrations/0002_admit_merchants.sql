-- 0002 admit merchants
--
-- Why    Vouchers are used at merchants that the Commission has approved.  A merchant's facts never
--        change; its state follows from a journal of decisions, and keys make the journal a chain:
--        each decision starts where the one before it ended.  A state without its decision, or a
--        decision without its effect, cannot be stored.
-- Locks  None: new tables only.
-- Undo   Drop both tables and the two functions; only safe before the first merchant is stored.

CREATE TABLE merchants (
    merchant_no   text        COLLATE "C" PRIMARY KEY,  -- UnionPay number
    name          text        NOT NULL,
    address       text        NOT NULL,
    town          text        NOT NULL,           -- one of the campaign's
    category      text        NOT NULL,           -- one of those that a class of the campaign names
    accepts       text[]      NOT NULL,           -- how it takes a payment, each way once
    state         text        NOT NULL DEFAULT 'SUBMITTED',
    decision_no   integer     NOT NULL DEFAULT 1, -- the decision that the state comes from
    photo_sha256  bytea,                          -- shop front; the file lies outside the database, under this name
    photo_type    text,
    submitted_by  text        NOT NULL,
    submitted_at  timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT merchant_no_has_15_digits CHECK (merchant_no ~ '^[0-9]{15}$'),
    CONSTRAINT facts_are_bounded         CHECK (length(name) BETWEEN 1 AND 100 AND length(address) BETWEEN 1 AND 200
                                                AND length(town) BETWEEN 1 AND 30 AND length(category) BETWEEN 1 AND 30
                                                AND length(submitted_by) BETWEEN 1 AND 64),
    -- A spreadsheet would run them: names go into the files for the Commission.
    CONSTRAINT facts_are_no_formulas     CHECK (name !~ '^[-=+@－＝＋＠[:space:]]' AND address !~ '^[-=+@－＝＋＠[:space:]]'),
    CONSTRAINT facts_are_printable       CHECK (name || address || town || category !~ '[[:cntrl:]]'),
    CONSTRAINT accepts_known_ways_once   CHECK (accepts IN ('{payment_code}', '{scan}', '{payment_code,scan}')),
    CONSTRAINT merchant_state_is_known   CHECK (state IN ('SUBMITTED', 'APPROVED', 'REJECTED', 'SUSPENDED')),
    CONSTRAINT photo_is_whole_or_absent  CHECK ((photo_sha256 IS NULL) = (photo_type IS NULL)),
    CONSTRAINT photo_sha256_is_sha256    CHECK (length(photo_sha256) = 32),
    CONSTRAINT photo_type_is_known       CHECK (photo_type IN ('image/jpeg', 'image/png', 'image/webp'))
);

CREATE TABLE merchant_decisions (
    merchant_no  text        COLLATE "C" NOT NULL REFERENCES merchants,
    decision_no  integer     NOT NULL,            -- 1, 2, 3 … of its merchant
    previous_no  integer     GENERATED ALWAYS AS (NULLIF(decision_no, 1) - 1) STORED,
    from_state   text,                            -- NULL for the first, the submission
    to_state     text        NOT NULL,
    actor        text        NOT NULL,
    reason       text        NOT NULL,
    at           timestamptz NOT NULL DEFAULT now(),

    PRIMARY KEY (merchant_no, decision_no),
    CONSTRAINT decision_ends_in_a_state UNIQUE (merchant_no, decision_no, to_state),
    CONSTRAINT decision_starts_where_the_last_ended
        FOREIGN KEY (merchant_no, previous_no, from_state)
        REFERENCES merchant_decisions (merchant_no, decision_no, to_state),
    CONSTRAINT submission_comes_first   CHECK (decision_no >= 1 AND (decision_no = 1) = (from_state IS NULL)),
    CONSTRAINT transition_is_allowed    CHECK ((coalesce(from_state, ''), to_state) IN (
        ('',          'SUBMITTED'),
        ('SUBMITTED', 'APPROVED'),
        ('SUBMITTED', 'REJECTED'),
        ('APPROVED',  'SUSPENDED'),
        ('SUSPENDED', 'APPROVED')
    )),
    CONSTRAINT decision_names_its_actor CHECK (length(actor) BETWEEN 1 AND 64),
    CONSTRAINT decision_has_a_reason    CHECK (length(reason) BETWEEN 1 AND 500)
);

-- Checked at the commit, since a merchant and its submission refer to each other.
ALTER TABLE merchants ADD CONSTRAINT state_comes_from_a_decision
    FOREIGN KEY (merchant_no, decision_no, state) REFERENCES merchant_decisions (merchant_no, decision_no, to_state)
    DEFERRABLE INITIALLY DEFERRED;

-- The public list.
CREATE INDEX approved_merchants ON merchants (merchant_no) WHERE state = 'APPROVED';

CREATE FUNCTION follow_decision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE merchants SET state = NEW.to_state, decision_no = NEW.decision_no
    WHERE merchant_no = NEW.merchant_no AND decision_no < NEW.decision_no;
    RETURN NULL;
END $$;

CREATE FUNCTION guard_merchant() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF (NEW.state, NEW.decision_no) IS DISTINCT FROM ('SUBMITTED', 1) THEN
            RAISE EXCEPTION 'a merchant begins as SUBMITTED' USING ERRCODE = 'restrict_violation';
        END IF;
    ELSIF NEW.decision_no <> OLD.decision_no + 1 THEN
        RAISE EXCEPTION 'a merchant''s state only changes with a new decision' USING ERRCODE = 'restrict_violation';
    ELSIF to_jsonb(NEW) - '{state,decision_no}'::text[] <> to_jsonb(OLD) - '{state,decision_no}'::text[] THEN
        RAISE EXCEPTION 'a merchant''s facts never change' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER merchant_is_guarded BEFORE INSERT OR UPDATE ON merchants
    FOR EACH ROW EXECUTE FUNCTION guard_merchant();
CREATE TRIGGER merchants_are_never_removed BEFORE DELETE OR TRUNCATE ON merchants
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER merchant_decisions_take_effect AFTER INSERT ON merchant_decisions
    FOR EACH ROW EXECUTE FUNCTION follow_decision();
CREATE TRIGGER merchant_decisions_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON merchant_decisions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- ALWAYS: also for a session that sets session_replication_role = replica.
ALTER TABLE merchants          ENABLE ALWAYS TRIGGER merchant_is_guarded;
ALTER TABLE merchants          ENABLE ALWAYS TRIGGER merchants_are_never_removed;
ALTER TABLE merchant_decisions ENABLE ALWAYS TRIGGER merchant_decisions_take_effect;
ALTER TABLE merchant_decisions ENABLE ALWAYS TRIGGER merchant_decisions_are_append_only;
