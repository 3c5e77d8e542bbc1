-- Every claim, with the hash of its voucher's code.
SELECT s.stock_id, c.claim_no, c.user_ref, c.epoch, c.stream_ms, c.stream_seq, encode(v.code_hash, 'hex') AS code_hash
FROM claims c
JOIN stocks s USING (stock_no)
JOIN vouchers v ON v.stock_no = c.stock_no AND v.claim_no = c.claim_no
