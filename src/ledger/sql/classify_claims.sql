-- Say of each claim what became of it, in a statement of its own: it sees what concurrent transactions have committed
-- while record_claims waited for them, and does not take their replay for a conflict.
-- $1 stock_no, then one array element a claim: $2 claim_no, $3 epoch, $4 user_ref, $5 stream_ms, $6 stream_seq, $7 nth
SELECT CASE
    WHEN c.claim_no IS NOT NULL        THEN 'RECORDED'
    WHEN e.epoch <> r.epoch            THEN 'FENCED'
    WHEN r.sealed_at IS NOT NULL       THEN 'FENCED'
    WHEN CASE WHEN r.round_limit = 0 THEN e.nth IS NULL ELSE e.nth BETWEEN 1 AND r.round_limit END THEN 'CONFLICT'
    ELSE 'FORBIDDEN'
END AS verdict
FROM unnest($2::integer[], $3::integer[], $4::text[], $5::bigint[], $6::integer[], $7::integer[])
    WITH ORDINALITY AS e (claim_no, epoch, user_ref, stream_ms, stream_seq, nth, position)
JOIN stocks s ON s.stock_no = $1
JOIN rounds r USING (round_no)
LEFT JOIN claims c
    ON c.stock_no = $1 AND c.claim_no = e.claim_no AND c.user_ref = e.user_ref AND c.epoch = e.epoch
   AND c.stream_ms = e.stream_ms AND c.stream_seq = e.stream_seq AND c.nth_of_round IS NOT DISTINCT FROM e.nth
ORDER BY e.position
