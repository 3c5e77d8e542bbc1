-- 0006 settle
--
-- Why    Merchants are paid by periods.  Freezing a period writes down which events are in it and what
--        each merchant gets; keys carry it from there: an event is in one settlement, on the line of its
--        own merchant; a period begins where the one before it ended; what a merchant still owes is
--        carried into his next line; a line is paid once, with exactly its amount, after two persons
--        have agreed.  All of it is append-only.
-- Locks  None: new tables only.
-- Undo   Drop the four tables; only safe before the first settlement.

CREATE TABLE settlements (
    settlement_no  integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_no    integer     NOT NULL REFERENCES campaigns,
    nth            integer     NOT NULL,        -- 1, 2, 3 … of its campaign
    begins_at      timestamptz,                 -- where the one before ended; NULL for the first
    until          timestamptz NOT NULL,        -- exclusive
    frozen_at      timestamptz NOT NULL,
    request_no     bigint      NOT NULL UNIQUE REFERENCES admin_requests,  -- who asked for the payout, and why
    heads          text        NOT NULL,        -- JSON: the heads of the campaign's journals at that time
    previous_nth   integer     GENERATED ALWAYS AS (NULLIF(nth, 1) - 1) STORED,

    CONSTRAINT settlement_has_its_place   UNIQUE (campaign_no, nth),
    CONSTRAINT settlement_ends            UNIQUE (campaign_no, nth, until),
    CONSTRAINT settlement_of_its_campaign UNIQUE (settlement_no, campaign_no),
    CONSTRAINT settlement_of_its_request  UNIQUE (settlement_no, request_no),
    CONSTRAINT period_follows_the_one_before FOREIGN KEY (campaign_no, previous_nth, begins_at)
        REFERENCES settlements (campaign_no, nth, until),
    CONSTRAINT only_the_first_has_no_beginning CHECK (nth >= 1 AND (nth = 1) = (begins_at IS NULL)),
    CONSTRAINT period_lasts                    CHECK (until > begins_at),
    CONSTRAINT period_is_over                  CHECK (until <= frozen_at)
);

-- What a merchant gets.
CREATE TABLE settlement_lines (
    settlement_no    integer NOT NULL,
    campaign_no      integer NOT NULL,
    merchant_no      text    COLLATE "C" NOT NULL REFERENCES merchants,
    line_no          integer NOT NULL,          -- 1, 2, 3 … of its merchant in the campaign
    brought_fen      bigint  NOT NULL,          -- what he owed after the line before, never above 0
    redeemed         integer NOT NULL,
    redeemed_fen     bigint  NOT NULL,
    reversed         integer NOT NULL,
    reversed_fen     bigint  NOT NULL,
    refunded         integer NOT NULL,
    refunded_fen     bigint  NOT NULL,
    clawed_back      integer NOT NULL,
    clawed_back_fen  bigint  NOT NULL,
    previous_line    integer GENERATED ALWAYS AS (NULLIF(line_no, 1) - 1) STORED,
    paid_fen         bigint  GENERATED ALWAYS AS (
        greatest(brought_fen + redeemed_fen - reversed_fen - refunded_fen - clawed_back_fen, 0)) STORED NOT NULL,
    carried_fen      bigint  GENERATED ALWAYS AS (
        least(brought_fen + redeemed_fen - reversed_fen - refunded_fen - clawed_back_fen, 0)) STORED NOT NULL,

    PRIMARY KEY (settlement_no, merchant_no, campaign_no),
    CONSTRAINT line_has_its_place UNIQUE (campaign_no, merchant_no, line_no),
    CONSTRAINT line_carries       UNIQUE (campaign_no, merchant_no, line_no, carried_fen),
    CONSTRAINT line_pays          UNIQUE (settlement_no, merchant_no, campaign_no, paid_fen),
    CONSTRAINT line_is_of_its_settlement
        FOREIGN KEY (settlement_no, campaign_no) REFERENCES settlements (settlement_no, campaign_no),
    CONSTRAINT line_brings_what_was_carried FOREIGN KEY (campaign_no, merchant_no, previous_line, brought_fen)
        REFERENCES settlement_lines (campaign_no, merchant_no, line_no, carried_fen),
    CONSTRAINT first_line_brings_nothing CHECK (line_no >= 1 AND (line_no > 1 OR brought_fen = 0)),
    CONSTRAINT line_counts_up            CHECK (least(
        redeemed, redeemed_fen, reversed, reversed_fen, refunded, refunded_fen, clawed_back, clawed_back_fen) >= 0)
);

-- Which events a line is made of.
CREATE TABLE settlement_items (
    event_no       bigint  NOT NULL,
    settlement_no  integer NOT NULL,
    merchant_no    text    COLLATE "C" NOT NULL,
    campaign_no    integer NOT NULL,
    kind           text    COLLATE "C" NOT NULL,
    amount_fen     bigint  NOT NULL,
    stock_holder   text    COLLATE "C" NOT NULL,

    CONSTRAINT event_is_settled_once PRIMARY KEY (event_no),
    CONSTRAINT item_is_an_event_of_its_merchant
        FOREIGN KEY (event_no, kind, campaign_no, amount_fen, stock_holder, merchant_no)
        REFERENCES events (event_no, kind, campaign_no, amount_fen, stock_holder, merchant_holder),
    CONSTRAINT item_is_of_a_line FOREIGN KEY (settlement_no, merchant_no, campaign_no) REFERENCES settlement_lines,
    CONSTRAINT item_concerns_a_merchant CHECK (kind IN ('REDEEM', 'REVERSE', 'REFUND', 'CLAW_BACK'))
);
CREATE INDEX items_of_line ON settlement_items (settlement_no, merchant_no);

CREATE TABLE settlement_payouts (
    settlement_no  integer NOT NULL,
    merchant_no    text    COLLATE "C" NOT NULL,
    campaign_no    integer NOT NULL,
    paid_fen       bigint  NOT NULL,
    event_no       bigint  NOT NULL UNIQUE,
    request_no     bigint  NOT NULL REFERENCES admin_acts,
    event_kind     text    COLLATE "C" GENERATED ALWAYS AS ('SETTLE') STORED,
    stock_holder   text    COLLATE "C" GENERATED ALWAYS AS ('') STORED,

    CONSTRAINT line_is_paid_once   PRIMARY KEY (settlement_no, merchant_no),
    CONSTRAINT payout_is_of_a_line FOREIGN KEY (settlement_no, merchant_no, campaign_no, paid_fen)
        REFERENCES settlement_lines (settlement_no, merchant_no, campaign_no, paid_fen),
    CONSTRAINT payout_was_agreed   FOREIGN KEY (settlement_no, request_no)
        REFERENCES settlements (settlement_no, request_no),
    CONSTRAINT payout_is_an_event  FOREIGN KEY (event_no, event_kind, campaign_no, paid_fen, stock_holder, merchant_no)
        REFERENCES events (event_no, kind, campaign_no, amount_fen, stock_holder, merchant_holder)
);

CREATE TRIGGER settlements_are_append_only        BEFORE UPDATE OR DELETE OR TRUNCATE ON settlements
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER settlement_lines_are_append_only   BEFORE UPDATE OR DELETE OR TRUNCATE ON settlement_lines
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER settlement_items_are_append_only   BEFORE UPDATE OR DELETE OR TRUNCATE ON settlement_items
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER settlement_payouts_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON settlement_payouts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- ALWAYS: also for a session that sets session_replication_role = replica.
ALTER TABLE settlements        ENABLE ALWAYS TRIGGER settlements_are_append_only;
ALTER TABLE settlement_lines   ENABLE ALWAYS TRIGGER settlement_lines_are_append_only;
ALTER TABLE settlement_items   ENABLE ALWAYS TRIGGER settlement_items_are_append_only;
ALTER TABLE settlement_payouts ENABLE ALWAYS TRIGGER settlement_payouts_are_append_only;
