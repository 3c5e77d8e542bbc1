-- The claims as a COPY writes them: every column but the one that is computed.
SELECT stock_no, claim_no, round_no, limit_no, epoch, user_ref, nth_of_round, stream_ms, stream_seq, recorded_at
FROM claims ORDER BY claim_no
