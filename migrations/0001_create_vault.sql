-- 0001 create vault
--
-- Why    The vault decides who owns a voucher.  Every voucher of a stock is minted as a row before
--        the round opens; a claim refers to one of them.  Keys make a voucher too many, a second
--        voucher for one user and a second owner impossible, whatever the gate, a zombie worker or
--        a split brain says.  Journals (vouchers, claims, dead letters) are append-only.
-- Locks  None: new tables only.
-- Undo   Drop the tables and the function; only safe before the first campaign is loaded.

CREATE TABLE campaigns (
    campaign_no  integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id  text        NOT NULL UNIQUE,
    document     jsonb       NOT NULL,          -- the campaign file as it was loaded, instants shifted
    digest       text        NOT NULL,          -- SHA-256 of the document: a second load of the same file is harmless
    fund_fen     bigint      NOT NULL,
    loaded_at    timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT fund_is_positive CHECK (fund_fen > 0)
);

CREATE TABLE rounds (
    round_no     integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_no  integer     NOT NULL REFERENCES campaigns,
    round_id     text        NOT NULL,          -- 'r1' within its campaign
    opens_at     timestamptz NOT NULL,
    closes_at    timestamptz NOT NULL,          -- exclusive
    round_limit  integer     NOT NULL DEFAULT 0,-- vouchers a user may have in this round, 0 = no such limit
    epoch        integer     NOT NULL DEFAULT 0,-- raised by each recovery; 0 = never opened
    gate_run_id  text,                          -- the gate's server process that the epoch was opened on

    UNIQUE (campaign_no, round_id),
    CONSTRAINT round_ends_after_it_begins CHECK (closes_at > opens_at),
    CONSTRAINT round_limit_is_not_negative CHECK (round_limit >= 0)
);

CREATE TABLE stocks (
    stock_no          integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stock_id          text        NOT NULL UNIQUE,
    round_no          integer     NOT NULL REFERENCES rounds,
    class             text        NOT NULL,
    tier              integer     NOT NULL,
    name              text        NOT NULL,
    threshold_fen     bigint      NOT NULL,
    discount_fen      bigint      NOT NULL,
    quantity          integer     NOT NULL,
    available_until   timestamptz NOT NULL,          -- exclusive
    gate_tag          text        NOT NULL,          -- hash tag of its keys in the gate: a prefix of stock_id
    -- One voucher a user in each limit: a stock has a limit of its own (its own number) or, when
    -- the campaign limits class and tier over all rounds, that of the first such stock.
    limit_no          integer     NOT NULL,
    class_tier_limit  integer     NOT NULL DEFAULT 0,-- 1 when the limit spans rounds, else 0
    paused            boolean     NOT NULL DEFAULT false,

    CONSTRAINT quantity_is_positive          CHECK (quantity > 0),
    CONSTRAINT discount_is_below_threshold   CHECK (discount_fen > 0 AND discount_fen < threshold_fen),
    CONSTRAINT gate_tag_is_prefix            CHECK (starts_with(stock_id, gate_tag)),
    CONSTRAINT stock_facts_for_vouchers      UNIQUE (stock_no, round_no, limit_no, quantity)
);

CREATE TABLE vouchers (
    stock_no   integer NOT NULL,
    claim_no   integer NOT NULL,                -- 1..quantity
    round_no   integer NOT NULL,
    limit_no   integer NOT NULL,
    quantity   integer NOT NULL,
    code_hash  bytea   NOT NULL UNIQUE,         -- SHA-256 of the voucher code, which is never stored

    -- round_no and limit_no follow from stock_no (next key), so (stock_no, claim_no) is unique too;
    -- they stand in the key so that a claim takes all four from one voucher by one foreign key.
    PRIMARY KEY (stock_no, claim_no, round_no, limit_no),
    CONSTRAINT voucher_belongs_to_its_stock
        FOREIGN KEY (stock_no, round_no, limit_no, quantity) REFERENCES stocks (stock_no, round_no, limit_no, quantity),
    CONSTRAINT claim_no_is_within_quantity CHECK (claim_no BETWEEN 1 AND quantity),
    CONSTRAINT code_hash_is_sha256         CHECK (length(code_hash) = 32)
);

CREATE TABLE claims (
    stock_no      integer  NOT NULL,
    claim_no      integer  NOT NULL,
    round_no      integer  NOT NULL,
    limit_no      integer  NOT NULL,
    epoch         integer  NOT NULL,
    user_ref      text     COLLATE "C" NOT NULL,
    nth_of_round  integer,                      -- only where the round limits vouchers per user
    stream_ms     bigint   NOT NULL,            -- the entry's id in the stream of claims ...
    stream_seq    integer  NOT NULL,
    claimed_at    timestamptz NOT NULL          -- ... whose milliseconds are the instant, by the gate's clock
                  GENERATED ALWAYS AS (to_timestamp(stream_ms / 1000.0)) STORED,
    recorded_at   timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT one_owner_per_voucher      PRIMARY KEY (stock_no, claim_no),
    CONSTRAINT one_voucher_per_user       UNIQUE (limit_no, user_ref),
    CONSTRAINT claim_is_of_minted_voucher
        FOREIGN KEY (stock_no, claim_no, round_no, limit_no) REFERENCES vouchers (stock_no, claim_no, round_no, limit_no),
    CONSTRAINT epoch_has_begun            CHECK (epoch > 0),
    CONSTRAINT user_ref_is_a_reference    CHECK (length(user_ref) = 23)
);

-- A round's cap on vouchers per user: the gate numbers them, and no number is given twice.
CREATE UNIQUE INDEX one_nth_voucher_per_user_and_round
    ON claims (round_no, user_ref, nth_of_round) WHERE nth_of_round IS NOT NULL;

-- "My vouchers" of one user.
CREATE INDEX claims_of_user ON claims (user_ref);

CREATE TABLE dead_letters (
    dead_letter_no  bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stock_no        integer     NOT NULL REFERENCES stocks,
    stream_id       text        NOT NULL,
    reason          text        NOT NULL,
    entry           jsonb       NOT NULL,       -- the fields as they were read
    entry_digest    bytea       NOT NULL,       -- SHA-256 of the fields: a stream id may recur after a restore
    detail          text        NOT NULL,
    recorded_at     timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT entry_is_refused_once UNIQUE (stock_no, stream_id, entry_digest),
    CONSTRAINT reason_is_known CHECK (reason IN (
        'CONFLICT',   -- the voucher has another owner, or the user another voucher
        'FENCED',     -- of an epoch that is over: its winner was never told yes
        'MALFORMED',  -- a field is missing or is not what the gate writes
        'FORBIDDEN'   -- a key or check of this vault refuses the row
    ))
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER vouchers_are_append_only     BEFORE UPDATE OR DELETE OR TRUNCATE ON vouchers
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER claims_are_append_only       BEFORE UPDATE OR DELETE OR TRUNCATE ON claims
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER dead_letters_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON dead_letters
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- ALWAYS: also for a session that sets session_replication_role = replica.
ALTER TABLE vouchers     ENABLE ALWAYS TRIGGER vouchers_are_append_only;
ALTER TABLE claims       ENABLE ALWAYS TRIGGER claims_are_append_only;
ALTER TABLE dead_letters ENABLE ALWAYS TRIGGER dead_letters_are_append_only;
