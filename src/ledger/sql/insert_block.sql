-- Seal a block with its rows; a place that is taken already raises.
-- $1 journal_no, $2 block_no, $3 previous hash, $4 hash, $5 the instant, $6 numbers of the rows
WITH block AS (
    INSERT INTO sealed_blocks (journal_no, block_no, row_count, previous_hash, hash, sealed_at)
    VALUES ($1, $2, cardinality($6::bigint[]), $3, $4, $5)
    RETURNING journal_no, block_no
)
INSERT INTO sealed_rows (journal_no, row_no, block_no)
SELECT b.journal_no, r.row_no, b.block_no FROM block b CROSS JOIN unnest($6::bigint[]) AS r (row_no)
