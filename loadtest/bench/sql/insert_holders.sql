-- Let made-up users own the vouchers of a stock, as if they had claimed them before the first recovery.
-- $1 stock_no, $2 first claim_no, $3 last claim_no, $4 stream_ms of the first; 50 were won in each millisecond
INSERT INTO claims (stock_no, claim_no, round_no, limit_no, epoch, user_ref, stream_ms, stream_seq)
SELECT s.stock_no, number, s.round_no, s.limit_no, 1, '1' || substr(md5(number::text), 1, 22), $4 + number / 50, number % 50
FROM stocks s, generate_series($2::bigint, $3::bigint) AS number
WHERE s.stock_no = $1
