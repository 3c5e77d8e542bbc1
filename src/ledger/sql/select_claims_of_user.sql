-- Every claim of one user. $1 user_ref
SELECT s.stock_id, c.claim_no, c.epoch, c.stream_ms || '-' || c.stream_seq AS stream_id, c.user_ref, c.claimed_at
FROM claims c JOIN stocks s USING (stock_no)
WHERE c.user_ref = $1
ORDER BY c.stream_ms, c.stock_no
