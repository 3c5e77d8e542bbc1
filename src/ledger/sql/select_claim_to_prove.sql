-- One user's claim of a stock, as it stands in the stock's journal. $1 stock_id, $2 user_ref
SELECT s.block_no, c.claim_no::bigint AS row_no, c.user_ref,
       ARRAY[c.claim_no, c.epoch, c.stream_ms, c.stream_seq, c.round_no, c.limit_no, c.nth_of_round,
             (extract(epoch FROM c.recorded_at) * 1000000)::bigint]::text[] AS fields
FROM claims c
JOIN stocks k USING (stock_no)
LEFT JOIN journals j USING (stock_no)
LEFT JOIN sealed_rows s ON s.journal_no = j.journal_no AND s.row_no = c.claim_no
WHERE k.stock_id = $1 AND c.user_ref = $2
