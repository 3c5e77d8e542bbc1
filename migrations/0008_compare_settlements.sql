-- 0008 compare settlements
--
-- Why    Before money leaves, what the bank or UnionPay counted is compared with what is settled.  What a
--        comparison has found stays, and so does who accepted differences, and why.  Both append-only.
-- Locks  None: new tables only.
-- Undo   Drop the two tables; only safe before the first comparison.

CREATE TABLE settlement_comparisons (
    comparison_no       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    settlement_no       integer     NOT NULL REFERENCES settlements,
    compared_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    compared_by         text        COLLATE "C" NOT NULL,
    list_digest         bytea       NOT NULL,   -- SHA-256 of the other side's list
    agreeing            integer     NOT NULL,   -- lines that both have, with the same amount
    only_ours           integer     NOT NULL,
    only_ours_fen       bigint      NOT NULL,
    only_theirs         integer     NOT NULL,
    only_theirs_fen     bigint      NOT NULL,
    amount_differs      integer     NOT NULL,
    amount_differs_fen  bigint      NOT NULL,   -- ours less theirs
    differences         integer     GENERATED ALWAYS AS (only_ours + only_theirs + amount_differs) STORED NOT NULL,

    CONSTRAINT comparison_counts_up   CHECK (least(agreeing, only_ours, only_theirs, amount_differs) >= 0),
    CONSTRAINT list_digest_is_sha256  CHECK (length(list_digest) = 32),
    CONSTRAINT comparison_is_somebodys CHECK (length(compared_by) BETWEEN 1 AND 64)
);
CREATE INDEX comparisons_of_settlement ON settlement_comparisons (settlement_no, comparison_no);

CREATE TABLE settlement_acceptances (
    comparison_no  bigint      NOT NULL REFERENCES settlement_comparisons,
    accepted_by    text        COLLATE "C" NOT NULL,
    reason         text        NOT NULL,
    accepted_at    timestamptz NOT NULL DEFAULT clock_timestamp(),

    CONSTRAINT differences_are_accepted_once PRIMARY KEY (comparison_no),
    CONSTRAINT acceptance_is_stated CHECK (length(reason) BETWEEN 1 AND 500 AND length(accepted_by) BETWEEN 1 AND 64)
);

CREATE TRIGGER settlement_comparisons_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON settlement_comparisons
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER settlement_acceptances_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON settlement_acceptances
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- ALWAYS: also for a session that sets session_replication_role = replica.
ALTER TABLE settlement_comparisons ENABLE ALWAYS TRIGGER settlement_comparisons_are_append_only;
ALTER TABLE settlement_acceptances ENABLE ALWAYS TRIGGER settlement_acceptances_are_append_only;
