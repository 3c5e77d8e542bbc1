-- Stocks whose vouchers are not exactly their quantity, or that have more claims than vouchers.
SELECT s.stock_id, s.quantity, coalesce(v.minted, 0) AS minted, coalesce(c.claimed, 0) AS claimed
FROM stocks s
LEFT JOIN (SELECT stock_no, count(*) AS minted FROM vouchers GROUP BY stock_no) v USING (stock_no)
LEFT JOIN (SELECT stock_no, count(*) AS claimed FROM claims GROUP BY stock_no) c USING (stock_no)
WHERE coalesce(v.minted, 0) <> s.quantity OR coalesce(c.claimed, 0) > s.quantity
