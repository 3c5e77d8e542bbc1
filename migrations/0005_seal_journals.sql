-- 0005 seal journals
--
-- Why    Triggers and keys stop everybody but the one who owns the database.  So that his hand can be
--        found, the rows of the journals are put into blocks off the hot path, and each block's hash
--        covers its rows and the hash of the block before.  A head that was published pins all that
--        came before it.  Rows have no order of their own that commits keep, so the one who seals
--        gives them their place: a row that is in no block yet goes into the next one.
-- Locks  None: new tables only.
-- Undo   Drop the three tables; what was published can be checked no more then.

-- A chain of blocks: the issue log of one stock, or the money journal of one campaign.
CREATE TABLE journals (
    journal_no   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stock_no     integer UNIQUE REFERENCES stocks,
    campaign_no  integer UNIQUE REFERENCES campaigns,

    CONSTRAINT journal_is_of_one_thing CHECK (num_nonnulls(stock_no, campaign_no) = 1)
);

CREATE TABLE sealed_blocks (
    journal_no     integer     NOT NULL REFERENCES journals,
    block_no       integer     NOT NULL,        -- 1, 2, 3 … of its journal
    row_count      integer     NOT NULL,
    previous_hash  bytea,                       -- NULL for the first
    hash           bytea       NOT NULL,        -- SHA-256; docs/audit.md says of what
    sealed_at      timestamptz NOT NULL,        -- covered by the hash
    previous_no    integer     GENERATED ALWAYS AS (NULLIF(block_no, 1) - 1) STORED,

    PRIMARY KEY (journal_no, block_no),
    CONSTRAINT block_has_its_hash     UNIQUE (journal_no, block_no, hash),
    CONSTRAINT block_follows_a_block  FOREIGN KEY (journal_no, previous_no, previous_hash)
        REFERENCES sealed_blocks (journal_no, block_no, hash),
    CONSTRAINT chain_begins_with_one  CHECK (block_no >= 1 AND (block_no = 1) = (previous_hash IS NULL)),
    CONSTRAINT block_holds_something  CHECK (row_count > 0),
    CONSTRAINT block_hash_is_sha256   CHECK (length(hash) = 32)
);

-- Which row is in which block: the claim_no of a stock's claim, the event_no of a campaign's event.
CREATE TABLE sealed_rows (
    journal_no  integer NOT NULL,
    row_no      bigint  NOT NULL,
    block_no    integer NOT NULL,

    CONSTRAINT row_is_in_one_block   PRIMARY KEY (journal_no, row_no),
    CONSTRAINT row_is_in_a_block     FOREIGN KEY (journal_no, block_no) REFERENCES sealed_blocks
);

CREATE TRIGGER journals_are_append_only      BEFORE UPDATE OR DELETE OR TRUNCATE ON journals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER sealed_blocks_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON sealed_blocks
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER sealed_rows_are_append_only   BEFORE UPDATE OR DELETE OR TRUNCATE ON sealed_rows
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- ALWAYS: also for a session that sets session_replication_role = replica.
ALTER TABLE journals      ENABLE ALWAYS TRIGGER journals_are_append_only;
ALTER TABLE sealed_blocks ENABLE ALWAYS TRIGGER sealed_blocks_are_append_only;
ALTER TABLE sealed_rows   ENABLE ALWAYS TRIGGER sealed_rows_are_append_only;
