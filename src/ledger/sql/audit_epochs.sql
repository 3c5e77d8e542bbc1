-- Claims of an epoch that their round has not reached.
SELECT s.stock_id, c.claim_no, c.epoch, r.epoch AS round_epoch
FROM claims c JOIN stocks s USING (stock_no) JOIN rounds r ON r.round_no = s.round_no
WHERE c.epoch > r.epoch
