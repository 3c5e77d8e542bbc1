-- Vouchers with more than one owner.
SELECT s.stock_id, c.claim_no, count(*) AS owners
FROM claims c JOIN stocks s USING (stock_no)
GROUP BY s.stock_id, c.claim_no
HAVING count(*) > 1
