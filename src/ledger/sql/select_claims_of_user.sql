-- Every claim of one user, and the state of its voucher; returned goods leave it used,
-- and one that is held is void until it is released. $1 user_ref
SELECT s.stock_id, c.claim_no, c.epoch, c.stream_ms || '-' || c.stream_seq AS stream_id, c.user_ref, c.claimed_at,
       CASE l.to_state WHEN 'REFUNDED' THEN 'USED' WHEN 'HELD' THEN 'VOID' ELSE coalesce(l.to_state, 'ISSUED') END AS state
FROM claims c
JOIN stocks s USING (stock_no)
LEFT JOIN LATERAL (
    SELECT e.to_state FROM events e
    WHERE e.stock_no = c.stock_no AND e.claim_no = c.claim_no
    ORDER BY e.version DESC LIMIT 1
) AS l ON true
WHERE c.user_ref = $1
ORDER BY c.stream_ms, c.stock_no
