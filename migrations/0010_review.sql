-- 0010 review
--
-- Why    What looks like abuse is noticed and written down, and two persons may hold a voucher until they
--        have looked, release it, or take it back for good.  Holding is a step of the voucher's life like
--        any other: a till, the expiry and a hold want the same version, and one of them gets it.  Each
--        such step names the act that two persons agreed on, and keys say that it is of that very kind.
--        Who takes tickets from one address is remembered for some days, as keyed hashes.
-- Locks  events, admin_requests exclusively: two generated columns are made anew, which rewrites events.
--        Run it before a round, not in it.
-- Undo   Drop the tables and the new columns; only safe while no voucher was held.

-- ------------------------------------------------------------------------------------------ steps of a voucher's life

INSERT INTO posting_rules (event_kind, debit_kind, credit_kind) VALUES
    ('HOLD',    'RESERVED', 'POOL'),            -- moves nothing: its amount is 0
    ('RELEASE', 'POOL',     'RESERVED'),        -- likewise
    ('VOID',    'RESERVED', 'POOL');

ALTER TABLE events
    DROP CONSTRAINT event_starts_where_the_last_ended,
    DROP CONSTRAINT event_ends_in_a_state,
    DROP CONSTRAINT transition_is_allowed,
    DROP CONSTRAINT event_has_the_facts_of_its_kind,
    DROP CONSTRAINT amount_is_of_its_kind,
    DROP COLUMN from_redemption,
    DROP COLUMN to_redemption;

-- The redemption that a voucher is used by, before and after; 0 for none.
ALTER TABLE events
    ADD COLUMN from_redemption bigint GENERATED ALWAYS AS (
        CASE WHEN kind IN ('REDEEM', 'EXPIRE', 'HOLD', 'RELEASE', 'VOID') THEN 0 ELSE redemption_no END) STORED,
    ADD COLUMN to_redemption bigint GENERATED ALWAYS AS (
        CASE WHEN kind IN ('REVERSE', 'EXPIRE', 'HOLD', 'RELEASE', 'VOID') THEN 0 ELSE redemption_no END) STORED,
    ADD COLUMN hold_event_no bigint GENERATED ALWAYS AS (CASE WHEN kind = 'HOLD' THEN event_no END) STORED,
    ADD COLUMN hold_end_event_no bigint GENERATED ALWAYS AS (CASE WHEN kind IN ('RELEASE', 'VOID') THEN event_no END) STORED;

ALTER TABLE events
    ADD CONSTRAINT event_ends_in_a_state UNIQUE (stock_no, claim_no, version, to_state, to_redemption),
    ADD CONSTRAINT event_of_its_kind     UNIQUE (event_no, kind),
    ADD CONSTRAINT transition_is_allowed CHECK (version IS NULL OR (kind, from_state, to_state) IN (
        ('REDEEM',    'ISSUED',   'USED'),
        ('REVERSE',   'USED',     'ISSUED'),
        ('REFUND',    'USED',     'REFUNDED'),  -- stays used: a refund never gives the voucher back
        ('REFUND',    'REFUNDED', 'REFUNDED'),
        ('CLAW_BACK', 'USED',     'REFUNDED'),
        ('CLAW_BACK', 'REFUNDED', 'REFUNDED'),
        ('EXPIRE',    'ISSUED',   'EXPIRED'),
        ('EXPIRE',    'HELD',     'EXPIRED'),   -- a hold stops no clock
        ('HOLD',      'ISSUED',   'HELD'),
        ('RELEASE',   'HELD',     'ISSUED'),
        ('VOID',      'HELD',     'VOID')       -- for good
    )),
    ADD CONSTRAINT event_has_the_facts_of_its_kind CHECK (CASE
        WHEN kind IN ('REDEEM', 'REVERSE', 'REFUND', 'CLAW_BACK') THEN
            num_nulls(stock_no, face_fen, units, claim_no, version, from_state, to_state, redemption_no, merchant_no) = 0
        WHEN kind IN ('EXPIRE', 'HOLD', 'RELEASE', 'VOID') THEN
            num_nulls(stock_no, face_fen, units, claim_no, version, from_state, to_state) = 0
            AND num_nonnulls(redemption_no, merchant_no) = 0
        WHEN kind IN ('MINT', 'NEVER_CLAIMED') THEN
            num_nulls(stock_no, face_fen, units) = 0
            AND num_nonnulls(claim_no, version, from_state, to_state, redemption_no, merchant_no) = 0
        WHEN kind = 'SETTLE' THEN
            num_nulls(merchant_no, settled_until) = 0
            AND num_nonnulls(stock_no, face_fen, units, claim_no, version, from_state, to_state, redemption_no) = 0
        ELSE
            num_nonnulls(stock_no, face_fen, units, claim_no, version, from_state, to_state, redemption_no, merchant_no) = 0
    END),
    ADD CONSTRAINT amount_is_of_its_kind CHECK (CASE
        WHEN kind IN ('MINT', 'REDEEM', 'REVERSE', 'EXPIRE', 'VOID') THEN amount_fen > 0 AND amount_fen = face_fen * units
        WHEN kind = 'NEVER_CLAIMED'                THEN amount_fen = face_fen * units
        WHEN kind IN ('REFUND', 'CLAW_BACK')       THEN amount_fen BETWEEN 0 AND face_fen  -- a fen's worth of goods may return nothing
        WHEN kind IN ('HOLD', 'RELEASE')           THEN amount_fen = 0
        WHEN kind = 'SETTLE'                       THEN amount_fen >= 0
        ELSE                                            amount_fen > 0
    END);

ALTER TABLE events ADD CONSTRAINT event_starts_where_the_last_ended
    FOREIGN KEY (stock_no, claim_no, previous_version, from_state, from_redemption)
    REFERENCES events (stock_no, claim_no, version, to_state, to_redemption);

-- ------------------------------------------------------------------------------------------------------- two persons

ALTER TABLE admin_requests
    ADD CONSTRAINT request_has_its_action UNIQUE (request_no, action);

CREATE TABLE holds (
    event_no    bigint PRIMARY KEY,
    request_no  bigint NOT NULL REFERENCES admin_acts,
    kind        text   COLLATE "C" GENERATED ALWAYS AS ('HOLD') STORED,
    action      text   GENERATED ALWAYS AS ('hold') STORED,

    CONSTRAINT hold_is_an_event    FOREIGN KEY (event_no, kind) REFERENCES events (event_no, kind),
    CONSTRAINT hold_was_agreed     FOREIGN KEY (request_no, action) REFERENCES admin_requests (request_no, action)
);

CREATE TABLE hold_ends (
    event_no    bigint PRIMARY KEY,
    request_no  bigint NOT NULL REFERENCES admin_acts,
    kind        text   COLLATE "C" NOT NULL,
    action      text   GENERATED ALWAYS AS (CASE kind WHEN 'RELEASE' THEN 'release' WHEN 'VOID' THEN 'void' ELSE '' END) STORED NOT NULL,

    CONSTRAINT hold_end_is_an_event FOREIGN KEY (event_no, kind) REFERENCES events (event_no, kind),
    CONSTRAINT hold_end_was_agreed  FOREIGN KEY (request_no, action) REFERENCES admin_requests (request_no, action)
);

ALTER TABLE events ADD CONSTRAINT hold_has_its_act
    FOREIGN KEY (hold_event_no) REFERENCES holds DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE events ADD CONSTRAINT hold_end_has_its_act
    FOREIGN KEY (hold_end_event_no) REFERENCES hold_ends DEFERRABLE INITIALLY DEFERRED;

-- ----------------------------------------------------------------------------------------------------------- signals

CREATE TABLE signals (
    signal_no    bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind         text        COLLATE "C" NOT NULL,
    subject      text        COLLATE "C" NOT NULL,  -- merchant, merchant and user, or address
    begins_at    timestamptz NOT NULL,              -- of the span in which it was noticed
    merchant_no  text        COLLATE "C" REFERENCES merchants,
    vouchers     text[]      NOT NULL,              -- 'STOCK:NUMBER', a bounded number of them
    figures      jsonb       NOT NULL,              -- counts and thresholds as they were
    noticed_at   timestamptz NOT NULL DEFAULT clock_timestamp(),

    CONSTRAINT signal_is_given_once   UNIQUE (kind, subject, begins_at),
    CONSTRAINT signal_kind_is_known   CHECK (kind IN (
        'MERCHANT_BURST',    -- many vouchers at one merchant in seconds
        'SPLIT_PAYMENTS',    -- payments of one owner at one merchant, each just above the threshold
        'SHARED_ADDRESS'     -- many users take tickets from one address
    )),
    CONSTRAINT signal_is_of_its_kind  CHECK ((kind = 'SHARED_ADDRESS') = (merchant_no IS NULL)),
    CONSTRAINT signal_is_bounded      CHECK (length(subject) BETWEEN 1 AND 64 AND cardinality(vouchers) <= 100)
);

-- Who took tickets from where; forgotten after some days.
CREATE TABLE address_uses (
    used_on       date  NOT NULL,               -- in China
    address_hash  bytea NOT NULL,               -- keyed hash of a block of addresses
    user_ref      text  COLLATE "C" NOT NULL,

    CONSTRAINT use_is_noted_once         PRIMARY KEY (used_on, address_hash, user_ref),
    CONSTRAINT address_hash_is_bounded   CHECK (length(address_hash) = 16),
    CONSTRAINT use_is_of_a_reference     CHECK (length(user_ref) = 23)
);

-- The latest uses of vouchers, which the signals look at.
CREATE INDEX redemptions_by_time ON events (at) WHERE kind = 'REDEEM';

CREATE TRIGGER holds_are_append_only     BEFORE UPDATE OR DELETE OR TRUNCATE ON holds
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER hold_ends_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON hold_ends
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER signals_are_append_only   BEFORE UPDATE OR DELETE OR TRUNCATE ON signals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- ALWAYS: also for a session that sets session_replication_role = replica.
ALTER TABLE holds     ENABLE ALWAYS TRIGGER holds_are_append_only;
ALTER TABLE hold_ends ENABLE ALWAYS TRIGGER hold_ends_are_append_only;
ALTER TABLE signals   ENABLE ALWAYS TRIGGER signals_are_append_only;
