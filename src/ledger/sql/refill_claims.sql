-- Record again claims that a vault restored to an older point has lost, under whatever epoch they were made; returns
-- the numbers of those inserted.
-- $1 stock_no, then one array element a claim: $2 claim_no, $3 epoch, $4 user_ref, $5 stream_ms, $6 stream_seq
INSERT INTO claims (stock_no, claim_no, round_no, limit_no, epoch, user_ref, stream_ms, stream_seq)
SELECT s.stock_no, e.claim_no, s.round_no, s.limit_no, e.epoch, e.user_ref, e.stream_ms, e.stream_seq
FROM stocks s
CROSS JOIN unnest($2::integer[], $3::integer[], $4::text[], $5::bigint[], $6::integer[])
    AS e (claim_no, epoch, user_ref, stream_ms, stream_seq)
WHERE s.stock_no = $1
ON CONFLICT DO NOTHING
RETURNING claim_no
