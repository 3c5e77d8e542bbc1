-- Stocks past their validity whose vouchers still hold money. $1 the instant, null for the server's clock
SELECT s.stock_no, now.at
FROM (SELECT coalesce($1::timestamptz, clock_timestamp()) AS at) AS now
CROSS JOIN stocks s
JOIN balances b ON b.kind = 'RESERVED' AND b.holder = s.stock_no::text AND b.balance_fen > 0
WHERE s.available_until <= now.at
ORDER BY s.stock_no
