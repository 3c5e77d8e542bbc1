-- What a certificate says of a stock besides its claims; sealed_at is when its round was over for good. $1 stock_id
SELECT j.journal_no, s.stock_no, s.quantity, c.campaign_id, r.round_id, r.sealed_at
FROM stocks s
JOIN rounds r USING (round_no)
JOIN campaigns c USING (campaign_no)
JOIN journals j ON j.stock_no = s.stock_no
WHERE s.stock_id = $1
