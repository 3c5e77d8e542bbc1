-- Claims from before the opening or after the end of their round.
SELECT s.stock_id, c.claim_no, c.claimed_at
FROM claims c JOIN stocks s USING (stock_no) JOIN rounds r ON r.round_no = s.round_no
WHERE c.claimed_at < r.opens_at OR c.claimed_at >= r.closes_at
