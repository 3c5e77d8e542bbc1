-- Every claim of a stock, by number. $1 stock_no
SELECT claim_no, user_ref, epoch, stream_ms, stream_seq FROM claims WHERE stock_no = $1 ORDER BY claim_no
