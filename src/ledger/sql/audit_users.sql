-- Users with more than one voucher under a limit of one.
SELECT s.stock_id, c.user_ref, count(*) AS vouchers
FROM claims c JOIN stocks s ON s.stock_no = c.limit_no
GROUP BY s.stock_id, c.user_ref
HAVING count(*) > 1
