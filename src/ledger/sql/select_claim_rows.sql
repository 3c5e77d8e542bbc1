-- The claims of a stock in the order of their blocks, those in no block last; every column that is not generated.
-- $1 journal_no, $2 stock_no, $3 whether only those in no block, $4 how many at most, $5 numbered above what
SELECT s.block_no, c.claim_no::bigint AS row_no, c.user_ref,
       ARRAY[c.claim_no, c.epoch, c.stream_ms, c.stream_seq, c.round_no, c.limit_no, c.nth_of_round,
             (extract(epoch FROM c.recorded_at) * 1000000)::bigint]::text[] AS fields
FROM claims c
LEFT JOIN sealed_rows s ON s.journal_no = $1 AND s.row_no = c.claim_no
WHERE c.stock_no = $2 AND c.claim_no > $5 AND (NOT $3 OR s.block_no IS NULL)
-- Of those in no block the index gives the first without reading the others.
ORDER BY CASE WHEN $3 THEN 0 ELSE s.block_no END, c.claim_no
LIMIT $4
