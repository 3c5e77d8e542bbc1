-- 0003 move money
--
-- Why    Every fen of the fund is somewhere, and a key says why it is there.  What happens is an
--        event; the rule of its kind says from which account to which its money goes; one transfer
--        row is one debit and one credit of that amount, so the books balance by construction.
--        Event and transfer refer to each other, and whom they concern is carried by keys: no event
--        without its money, no money without its event, no other amount, no other account.
--        A voucher's life is a chain of versions: two terminals, or a terminal and its expiry, want
--        the same version, and one of them gets it.  Journals are append-only; balances follow.
-- Locks  rounds and stocks for a moment, exclusively: a column and three keys.
-- Undo   Drop the tables, functions, keys and the column; only safe before money was received.

-- ---------------------------------------------------------------------------------------------------- what keys carry

ALTER TABLE rounds
    ADD COLUMN sealed_at timestamptz,           -- from here on no claim of the round is recorded
    ADD CONSTRAINT round_is_of_its_campaign UNIQUE (round_no, campaign_no);

ALTER TABLE stocks
    ADD CONSTRAINT stock_is_of_its_round UNIQUE (stock_no, round_no),
    ADD CONSTRAINT stock_has_its_face    UNIQUE (stock_no, discount_fen),
    ADD CONSTRAINT stock_has_its_terms   UNIQUE (stock_no, discount_fen, threshold_fen);

-- ------------------------------------------------------------------------------------------------ accounts, balances

CREATE TABLE accounts (
    campaign_no  integer NOT NULL REFERENCES campaigns,
    kind         text    COLLATE "C" NOT NULL,
    stock_no     integer,                       -- RESERVED: whose vouchers the money is for
    round_no     integer,
    merchant_no  text    COLLATE "C" REFERENCES merchants,  -- PAYABLE: whom the money is owed
    holder       text    COLLATE "C" GENERATED ALWAYS AS (coalesce(stock_no::text, merchant_no, '')) STORED,

    PRIMARY KEY (campaign_no, kind, holder),
    CONSTRAINT account_is_of_its_stock    FOREIGN KEY (stock_no, round_no)    REFERENCES stocks (stock_no, round_no),
    CONSTRAINT account_is_of_its_campaign FOREIGN KEY (round_no, campaign_no) REFERENCES rounds (round_no, campaign_no),
    CONSTRAINT account_kind_is_known      CHECK (kind IN (
        'EXTERNAL',   -- the world outside: minus what was received
        'POOL',       -- received, free
        'RESERVED',   -- set aside for the vouchers of a stock
        'PAYABLE',    -- owed to a merchant
        'PAID_OUT'    -- settled with the merchants
    )),
    CONSTRAINT account_has_its_holder CHECK (
        (kind = 'RESERVED') = (stock_no IS NOT NULL) AND (kind = 'RESERVED') = (round_no IS NOT NULL)
        AND (kind = 'PAYABLE') = (merchant_no IS NOT NULL)
    )
);

-- Apart from the accounts, whose rows a key locks whenever it looks at them.
CREATE TABLE balances (
    campaign_no  integer NOT NULL,
    kind         text    COLLATE "C" NOT NULL,
    holder       text    COLLATE "C" NOT NULL,
    balance_fen  bigint  NOT NULL DEFAULT 0,    -- credits minus debits

    PRIMARY KEY (campaign_no, kind, holder),
    CONSTRAINT balance_is_of_an_account FOREIGN KEY (campaign_no, kind, holder) REFERENCES accounts,
    -- A merchant may owe for goods that came back after the settlement; the world gave what we have.
    CONSTRAINT balance_is_not_overdrawn CHECK (CASE kind
        WHEN 'EXTERNAL' THEN balance_fen <= 0
        WHEN 'PAYABLE'  THEN true
        ELSE                 balance_fen >= 0
    END)
) WITH (fillfactor = 50);

-- Which way the money of an event goes.
CREATE TABLE posting_rules (
    event_kind   text COLLATE "C" PRIMARY KEY,
    debit_kind   text COLLATE "C" NOT NULL,     -- the account that it leaves
    credit_kind  text COLLATE "C" NOT NULL,     -- the account that it reaches

    CONSTRAINT rule_of_kinds UNIQUE (event_kind, debit_kind, credit_kind),
    CONSTRAINT rule_moves    CHECK (debit_kind <> credit_kind)
);

INSERT INTO posting_rules (event_kind, debit_kind, credit_kind) VALUES
    ('FUND_RECEIVED', 'EXTERNAL', 'POOL'),
    ('MINT',          'POOL',     'RESERVED'),
    ('REDEEM',        'RESERVED', 'PAYABLE'),
    ('REVERSE',       'PAYABLE',  'RESERVED'),
    ('REFUND',        'PAYABLE',  'POOL'),
    ('CLAW_BACK',     'PAYABLE',  'POOL'),      -- a refund of what was settled: the merchant's next payable
    ('EXPIRE',        'RESERVED', 'POOL'),
    ('NEVER_CLAIMED', 'RESERVED', 'POOL'),
    ('SETTLE',        'PAYABLE',  'PAID_OUT');

-- ------------------------------------------------------------------------------------------------------- idempotency

CREATE TABLE requests (
    caller          text        COLLATE "C" NOT NULL,
    out_request_no  text        COLLATE "C" NOT NULL,
    body_digest     bytea       NOT NULL,       -- SHA-256 of what was asked
    verdict         text        NOT NULL,       -- DONE, or the code of the refusal
    answer          text        NOT NULL,       -- JSON, as it was told
    answered_at     timestamptz NOT NULL DEFAULT clock_timestamp(),

    CONSTRAINT one_answer_per_request PRIMARY KEY (caller, out_request_no),
    CONSTRAINT body_digest_is_sha256  CHECK (length(body_digest) = 32),
    CONSTRAINT request_is_bounded     CHECK (length(out_request_no) BETWEEN 1 AND 64 AND length(caller) BETWEEN 1 AND 64)
);

-- ------------------------------------------------------------------------------------------- redemptions and their end

CREATE TABLE redemptions (
    redemption_no     bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    redemption_id     text    COLLATE "C" NOT NULL UNIQUE,  -- cannot be guessed
    stock_no          integer NOT NULL,
    claim_no          integer NOT NULL,
    discount_fen      bigint  NOT NULL,
    threshold_fen     bigint  NOT NULL,
    merchant_no       text    COLLATE "C" NOT NULL REFERENCES merchants,
    order_no          text    COLLATE "C" NOT NULL,
    order_amount_fen  bigint  NOT NULL,         -- before the discount
    channel           text    NOT NULL,
    -- One voucher an order: its next redemption follows the reversal of the one before.
    attempt           integer NOT NULL,
    previous_attempt  integer GENERATED ALWAYS AS (NULLIF(attempt, 1) - 1) STORED,
    caller            text    COLLATE "C" NOT NULL,
    out_request_no    text    COLLATE "C" NOT NULL,

    CONSTRAINT one_voucher_per_order UNIQUE (merchant_no, order_no, attempt),
    CONSTRAINT redemption_for_events UNIQUE (redemption_no, stock_no, claim_no, merchant_no),
    CONSTRAINT redemption_for_refunds UNIQUE (redemption_no, order_amount_fen, discount_fen),
    CONSTRAINT redemption_for_reversals UNIQUE (redemption_no, merchant_no, order_no, attempt),
    CONSTRAINT redemption_is_on_the_stocks_terms
        FOREIGN KEY (stock_no, discount_fen, threshold_fen) REFERENCES stocks (stock_no, discount_fen, threshold_fen),
    CONSTRAINT redemption_was_asked_for
        FOREIGN KEY (caller, out_request_no) REFERENCES requests DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT order_reaches_the_threshold CHECK (order_amount_fen >= threshold_fen),
    CONSTRAINT order_is_bounded            CHECK (length(order_no) BETWEEN 1 AND 64),
    CONSTRAINT attempts_count_from_one     CHECK (attempt >= 1)
);

CREATE TABLE reversals (
    redemption_no   bigint  PRIMARY KEY,
    merchant_no     text    COLLATE "C" NOT NULL,
    order_no        text    COLLATE "C" NOT NULL,
    attempt         integer NOT NULL,
    caller          text    COLLATE "C" NOT NULL,
    out_request_no  text    COLLATE "C" NOT NULL,

    CONSTRAINT reversal_frees_its_order UNIQUE (merchant_no, order_no, attempt),
    CONSTRAINT reversal_is_of_a_redemption FOREIGN KEY (redemption_no, merchant_no, order_no, attempt)
        REFERENCES redemptions (redemption_no, merchant_no, order_no, attempt),
    CONSTRAINT reversal_was_asked_for
        FOREIGN KEY (caller, out_request_no) REFERENCES requests DEFERRABLE INITIALLY DEFERRED
);

ALTER TABLE redemptions ADD CONSTRAINT order_is_free_again
    FOREIGN KEY (merchant_no, order_no, previous_attempt) REFERENCES reversals (merchant_no, order_no, attempt);

CREATE TABLE refunds (
    refund_id          text    COLLATE "C" NOT NULL UNIQUE,
    redemption_no      bigint  NOT NULL,
    nth                integer NOT NULL,        -- 1, 2, 3 … of its redemption
    event_no           bigint  NOT NULL UNIQUE,
    order_amount_fen   bigint  NOT NULL,
    discount_fen       bigint  NOT NULL,
    refund_amount_fen  bigint  NOT NULL,        -- goods that came back, at the price before the discount
    returned_fen       bigint  NOT NULL,        -- their share of the discount, which the pool gets back
    refund_total_fen   bigint  NOT NULL,        -- with the refunds before
    returned_total_fen bigint  NOT NULL,
    previous_nth       integer GENERATED ALWAYS AS (NULLIF(nth, 1) - 1) STORED,
    refunded_before_fen bigint GENERATED ALWAYS AS (refund_total_fen - refund_amount_fen) STORED,
    returned_before_fen bigint GENERATED ALWAYS AS (returned_total_fen - returned_fen) STORED,
    caller             text    COLLATE "C" NOT NULL,
    out_request_no     text    COLLATE "C" NOT NULL,

    PRIMARY KEY (redemption_no, nth),
    CONSTRAINT refund_for_events  UNIQUE (event_no, redemption_no, returned_fen),
    CONSTRAINT refund_adds_up     UNIQUE (redemption_no, nth, refund_total_fen, returned_total_fen),
    CONSTRAINT refund_is_of_a_redemption FOREIGN KEY (redemption_no, order_amount_fen, discount_fen)
        REFERENCES redemptions (redemption_no, order_amount_fen, discount_fen),
    CONSTRAINT refund_follows_the_one_before
        FOREIGN KEY (redemption_no, previous_nth, refunded_before_fen, returned_before_fen)
        REFERENCES refunds (redemption_no, nth, refund_total_fen, returned_total_fen),
    CONSTRAINT refund_was_asked_for
        FOREIGN KEY (caller, out_request_no) REFERENCES requests DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT refunds_count_from_one     CHECK (nth >= 1 AND (nth > 1 OR (refunded_before_fen = 0 AND returned_before_fen = 0))),
    CONSTRAINT refund_is_within_the_order CHECK (refund_amount_fen > 0 AND refund_total_fen <= order_amount_fen),
    -- The share of all that came back so far, half a fen upwards: so the shares never add up to more than the discount.
    CONSTRAINT refund_returns_its_share   CHECK (returned_fen >= 0 AND returned_total_fen = div(
        2::numeric * discount_fen * refund_total_fen + order_amount_fen, 2::numeric * order_amount_fen
    ))
);

-- ------------------------------------------------------------------------------------------------ events and transfers

CREATE TABLE events (
    event_no       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at             timestamptz NOT NULL DEFAULT clock_timestamp(),
    amount_fen     bigint      NOT NULL,
    kind           text        COLLATE "C" NOT NULL REFERENCES posting_rules,
    campaign_no    integer     NOT NULL REFERENCES campaigns,
    stock_no       integer,
    face_fen       bigint,                      -- the discount of the stock
    units          integer,                     -- how many vouchers
    claim_no       integer,
    version        integer,                     -- 1, 2, 3 … of its voucher; a claim is version 0
    from_state     text        COLLATE "C",
    to_state       text        COLLATE "C",
    redemption_no  bigint,
    merchant_no    text        COLLATE "C",
    settled_until  timestamptz,                 -- SETTLE: the merchant's events before this instant, exclusive

    previous_version  integer GENERATED ALWAYS AS (NULLIF(version, 1) - 1) STORED,
    -- The redemption that a voucher is used by, before and after; 0 for none.
    from_redemption   bigint GENERATED ALWAYS AS (CASE WHEN kind IN ('REDEEM', 'EXPIRE') THEN 0 ELSE redemption_no END) STORED,
    to_redemption     bigint GENERATED ALWAYS AS (CASE WHEN kind IN ('REVERSE', 'EXPIRE') THEN 0 ELSE redemption_no END) STORED,
    begun_redemption  bigint GENERATED ALWAYS AS (CASE WHEN kind = 'REDEEM'  THEN redemption_no END) STORED UNIQUE,
    ended_redemption  bigint GENERATED ALWAYS AS (CASE WHEN kind = 'REVERSE' THEN redemption_no END) STORED UNIQUE,
    refund_event_no   bigint GENERATED ALWAYS AS (CASE WHEN kind IN ('REFUND', 'CLAW_BACK') THEN event_no END) STORED,
    receipt_event_no  bigint GENERATED ALWAYS AS (CASE WHEN kind = 'FUND_RECEIVED' THEN event_no END) STORED,
    transfer_no       bigint GENERATED ALWAYS AS (CASE WHEN amount_fen > 0 THEN event_no END) STORED,
    stock_holder      text   COLLATE "C" GENERATED ALWAYS AS (coalesce(stock_no::text, '')) STORED NOT NULL,
    merchant_holder   text   COLLATE "C" GENERATED ALWAYS AS (coalesce(merchant_no, '')) STORED NOT NULL,

    CONSTRAINT one_event_per_version UNIQUE (stock_no, claim_no, version),
    CONSTRAINT event_ends_in_a_state UNIQUE (stock_no, claim_no, version, to_state, to_redemption),
    CONSTRAINT event_for_transfers   UNIQUE (event_no, kind, campaign_no, amount_fen, stock_holder, merchant_holder),

    CONSTRAINT event_starts_where_the_last_ended
        FOREIGN KEY (stock_no, claim_no, previous_version, from_state, from_redemption)
        REFERENCES events (stock_no, claim_no, version, to_state, to_redemption),
    CONSTRAINT event_is_of_a_claimed_voucher FOREIGN KEY (stock_no, claim_no) REFERENCES claims,
    CONSTRAINT event_is_of_the_stocks_face   FOREIGN KEY (stock_no, face_fen) REFERENCES stocks (stock_no, discount_fen),
    CONSTRAINT event_is_of_its_redemption    FOREIGN KEY (redemption_no, stock_no, claim_no, merchant_no)
        REFERENCES redemptions (redemption_no, stock_no, claim_no, merchant_no),
    CONSTRAINT reversal_has_its_reasons FOREIGN KEY (ended_redemption) REFERENCES reversals DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT refund_has_its_amounts   FOREIGN KEY (refund_event_no, redemption_no, amount_fen)
        REFERENCES refunds (event_no, redemption_no, returned_fen) DEFERRABLE INITIALLY DEFERRED,

    CONSTRAINT transition_is_allowed CHECK (version IS NULL OR (kind, from_state, to_state) IN (
        ('REDEEM',    'ISSUED',   'USED'),
        ('REVERSE',   'USED',     'ISSUED'),
        ('REFUND',    'USED',     'REFUNDED'),  -- stays used: a refund never gives the voucher back
        ('REFUND',    'REFUNDED', 'REFUNDED'),
        ('CLAW_BACK', 'USED',     'REFUNDED'),
        ('CLAW_BACK', 'REFUNDED', 'REFUNDED'),
        ('EXPIRE',    'ISSUED',   'EXPIRED')
    )),
    CONSTRAINT life_begins_with_the_claim CHECK (version >= 1 AND (version > 1 OR from_state = 'ISSUED')),
    CONSTRAINT event_has_the_facts_of_its_kind CHECK (CASE
        WHEN kind IN ('REDEEM', 'REVERSE', 'REFUND', 'CLAW_BACK') THEN
            num_nulls(stock_no, face_fen, units, claim_no, version, from_state, to_state, redemption_no, merchant_no) = 0
        WHEN kind = 'EXPIRE' THEN
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
    CONSTRAINT only_a_settlement_has_a_period CHECK (kind = 'SETTLE' OR settled_until IS NULL),
    CONSTRAINT event_concerns_whole_vouchers  CHECK (units >= 0 AND (claim_no IS NULL OR units = 1)),
    CONSTRAINT amount_is_of_its_kind CHECK (CASE
        WHEN kind IN ('MINT', 'REDEEM', 'REVERSE', 'EXPIRE') THEN amount_fen > 0 AND amount_fen = face_fen * units
        WHEN kind = 'NEVER_CLAIMED'                THEN amount_fen = face_fen * units
        WHEN kind IN ('REFUND', 'CLAW_BACK')       THEN amount_fen BETWEEN 0 AND face_fen  -- a fen's worth of goods may return nothing
        WHEN kind = 'SETTLE'                       THEN amount_fen >= 0
        ELSE                                            amount_fen > 0
    END)
);

ALTER TABLE redemptions ADD CONSTRAINT redemption_has_its_event
    FOREIGN KEY (redemption_no) REFERENCES events (begun_redemption) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE reversals ADD CONSTRAINT reversal_has_its_event
    FOREIGN KEY (redemption_no) REFERENCES events (ended_redemption) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE refunds ADD CONSTRAINT refund_has_its_event
    FOREIGN KEY (event_no) REFERENCES events DEFERRABLE INITIALLY DEFERRED;

CREATE UNIQUE INDEX one_minting_per_stock ON events (stock_no) WHERE kind = 'MINT';
CREATE UNIQUE INDEX one_return_of_the_never_claimed ON events (stock_no) WHERE kind = 'NEVER_CLAIMED';
-- Has a redemption been settled?
CREATE INDEX settlements_of_merchant ON events (merchant_no, campaign_no, settled_until) WHERE kind = 'SETTLE';

CREATE TABLE fund_receipts (
    event_no     bigint  PRIMARY KEY REFERENCES events DEFERRABLE INITIALLY DEFERRED,
    campaign_no  integer NOT NULL REFERENCES campaigns,
    reference    text    NOT NULL,              -- of the bank's transfer
    amount_fen   bigint  NOT NULL,
    received_on  date    NOT NULL,              -- in China
    recorded_by  text    NOT NULL,

    CONSTRAINT money_is_received_once UNIQUE (campaign_no, reference),
    CONSTRAINT receipt_for_events     UNIQUE (event_no, campaign_no, amount_fen),
    CONSTRAINT receipt_is_bounded     CHECK (length(reference) BETWEEN 1 AND 64 AND length(recorded_by) BETWEEN 1 AND 64)
);

ALTER TABLE events ADD CONSTRAINT fund_has_its_receipt FOREIGN KEY (receipt_event_no, campaign_no, amount_fen)
    REFERENCES fund_receipts (event_no, campaign_no, amount_fen) DEFERRABLE INITIALLY DEFERRED;

CREATE TABLE transfers (
    event_no         bigint  PRIMARY KEY,
    amount_fen       bigint  NOT NULL,
    event_kind       text    COLLATE "C" NOT NULL,
    campaign_no      integer NOT NULL,
    stock_holder     text    COLLATE "C" NOT NULL,
    merchant_holder  text    COLLATE "C" NOT NULL,
    debit_kind       text    COLLATE "C" NOT NULL,
    credit_kind      text    COLLATE "C" NOT NULL,
    debit_holder     text    COLLATE "C" GENERATED ALWAYS AS (
        CASE debit_kind WHEN 'RESERVED' THEN stock_holder WHEN 'PAYABLE' THEN merchant_holder ELSE '' END) STORED NOT NULL,
    credit_holder    text    COLLATE "C" GENERATED ALWAYS AS (
        CASE credit_kind WHEN 'RESERVED' THEN stock_holder WHEN 'PAYABLE' THEN merchant_holder ELSE '' END) STORED NOT NULL,

    CONSTRAINT transfer_moves_something CHECK (amount_fen > 0),
    CONSTRAINT transfer_is_of_its_event
        FOREIGN KEY (event_no, event_kind, campaign_no, amount_fen, stock_holder, merchant_holder)
        REFERENCES events (event_no, kind, campaign_no, amount_fen, stock_holder, merchant_holder),
    CONSTRAINT transfer_follows_the_rule
        FOREIGN KEY (event_kind, debit_kind, credit_kind) REFERENCES posting_rules (event_kind, debit_kind, credit_kind),
    CONSTRAINT debit_is_of_an_account
        FOREIGN KEY (campaign_no, debit_kind, debit_holder)   REFERENCES accounts (campaign_no, kind, holder),
    CONSTRAINT credit_is_of_an_account
        FOREIGN KEY (campaign_no, credit_kind, credit_holder) REFERENCES accounts (campaign_no, kind, holder)
);

ALTER TABLE events ADD CONSTRAINT event_has_its_money
    FOREIGN KEY (transfer_no) REFERENCES transfers DEFERRABLE INITIALLY DEFERRED;

-- What a merchant is owed, and why.
CREATE INDEX events_of_merchant ON events (merchant_no, campaign_no, event_no) WHERE merchant_no IS NOT NULL;

-- --------------------------------------------------------------------------------------------------- balances follow

CREATE FUNCTION move_balances() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    concerned integer;
    moved     integer;
BEGIN
    -- Always in the same order, so that no two transactions wait for each other.
    PERFORM FROM balances b
    WHERE EXISTS (
        SELECT FROM posted p
        WHERE p.campaign_no = b.campaign_no
          AND ((p.debit_kind, p.debit_holder) = (b.kind, b.holder) OR (p.credit_kind, p.credit_holder) = (b.kind, b.holder))
    )
    ORDER BY b.campaign_no, b.kind, b.holder
    FOR NO KEY UPDATE;

    WITH moves AS (
        SELECT side.campaign_no, side.kind, side.holder, sum(side.fen)::bigint AS fen
        FROM posted p
        CROSS JOIN LATERAL (VALUES
            (p.campaign_no, p.debit_kind, p.debit_holder, -p.amount_fen),
            (p.campaign_no, p.credit_kind, p.credit_holder, p.amount_fen)
        ) AS side (campaign_no, kind, holder, fen)
        GROUP BY side.campaign_no, side.kind, side.holder
    ), moving AS (
        UPDATE balances b SET balance_fen = b.balance_fen + m.fen
        FROM moves m
        WHERE (b.campaign_no, b.kind, b.holder) = (m.campaign_no, m.kind, m.holder)
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM moves), (SELECT count(*) FROM moving) INTO concerned, moved;
    IF concerned <> moved THEN
        RAISE EXCEPTION 'an account has no balance' USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER transfers_move_balances AFTER INSERT ON transfers
    REFERENCING NEW TABLE AS posted FOR EACH STATEMENT EXECUTE FUNCTION move_balances();

-- By hand nobody moves a balance: only the trigger of a transfer does.
CREATE TRIGGER balances_follow_transfers BEFORE UPDATE ON balances
    FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION refuse_change();
CREATE FUNCTION refuse_a_balance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a balance begins at nothing' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER balances_begin_at_nothing BEFORE INSERT ON balances
    FOR EACH ROW WHEN (NEW.balance_fen <> 0) EXECUTE FUNCTION refuse_a_balance();
CREATE TRIGGER balances_are_never_removed BEFORE DELETE OR TRUNCATE ON balances
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER accounts_are_append_only      BEFORE UPDATE OR DELETE OR TRUNCATE ON accounts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER posting_rules_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON posting_rules
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER requests_are_append_only      BEFORE UPDATE OR DELETE OR TRUNCATE ON requests
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER redemptions_are_append_only   BEFORE UPDATE OR DELETE OR TRUNCATE ON redemptions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER reversals_are_append_only     BEFORE UPDATE OR DELETE OR TRUNCATE ON reversals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER refunds_are_append_only       BEFORE UPDATE OR DELETE OR TRUNCATE ON refunds
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER events_are_append_only        BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER fund_receipts_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON fund_receipts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER transfers_are_append_only     BEFORE UPDATE OR DELETE OR TRUNCATE ON transfers
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- ALWAYS: also for a session that sets session_replication_role = replica.
ALTER TABLE transfers     ENABLE ALWAYS TRIGGER transfers_move_balances;
ALTER TABLE balances      ENABLE ALWAYS TRIGGER balances_follow_transfers;
ALTER TABLE balances      ENABLE ALWAYS TRIGGER balances_begin_at_nothing;
ALTER TABLE balances      ENABLE ALWAYS TRIGGER balances_are_never_removed;
ALTER TABLE accounts      ENABLE ALWAYS TRIGGER accounts_are_append_only;
ALTER TABLE posting_rules ENABLE ALWAYS TRIGGER posting_rules_are_append_only;
ALTER TABLE requests      ENABLE ALWAYS TRIGGER requests_are_append_only;
ALTER TABLE redemptions   ENABLE ALWAYS TRIGGER redemptions_are_append_only;
ALTER TABLE reversals     ENABLE ALWAYS TRIGGER reversals_are_append_only;
ALTER TABLE refunds       ENABLE ALWAYS TRIGGER refunds_are_append_only;
ALTER TABLE events        ENABLE ALWAYS TRIGGER events_are_append_only;
ALTER TABLE fund_receipts ENABLE ALWAYS TRIGGER fund_receipts_are_append_only;
ALTER TABLE transfers     ENABLE ALWAYS TRIGGER transfers_are_append_only;
