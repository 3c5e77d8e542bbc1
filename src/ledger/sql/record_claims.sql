-- Record claims of one stock under the fence; returns how many are new.
-- A number, a user or an nth voucher that is taken already is left out without an error: the next statement says why.
-- $1 stock_no, then one array element a claim: $2 claim_no, $3 epoch, $4 user_ref, $5 stream_ms, $6 stream_seq,
-- $7 nth (null unless the round limits vouchers per user)
WITH fence AS (
    -- Waits for a recovery that is raising the epoch, and makes the next one wait for this transaction.
    SELECT r.round_no, r.epoch, r.round_limit
    FROM rounds r
    WHERE r.round_no = (SELECT round_no FROM stocks WHERE stock_no = $1) AND r.sealed_at IS NULL
    FOR SHARE
), recorded AS (
INSERT INTO claims (stock_no, claim_no, round_no, limit_no, epoch, user_ref, stream_ms, stream_seq, nth_of_round)
SELECT s.stock_no, e.claim_no, s.round_no, s.limit_no, e.epoch, e.user_ref, e.stream_ms, e.stream_seq, e.nth
FROM fence
JOIN stocks s ON s.stock_no = $1
CROSS JOIN unnest($2::integer[], $3::integer[], $4::text[], $5::bigint[], $6::integer[], $7::integer[])
    AS e (claim_no, epoch, user_ref, stream_ms, stream_seq, nth)
WHERE e.epoch = fence.epoch
  AND CASE WHEN fence.round_limit = 0 THEN e.nth IS NULL ELSE e.nth BETWEEN 1 AND fence.round_limit END
ON CONFLICT DO NOTHING
RETURNING 1
)
SELECT count(*)::integer FROM recorded
