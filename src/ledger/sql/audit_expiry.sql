-- Vouchers that were used after their validity or expired before its end, and those that should have expired by now:
-- the worker has ten minutes for it.
SELECT s.stock_id, e.claim_no, e.kind || ' at ' || e.at AS fault
FROM events e JOIN stocks s USING (stock_no)
WHERE (e.kind = 'REDEEM' AND e.at >= s.available_until) OR (e.kind = 'EXPIRE' AND e.at < s.available_until)
UNION ALL
SELECT s.stock_id, c.claim_no, 'overdue since ' || s.available_until
FROM stocks s
JOIN balances b ON b.kind = 'RESERVED' AND b.holder = s.stock_no::text AND b.balance_fen > 0
JOIN claims c USING (stock_no)
WHERE s.available_until < now() - interval '10 minutes'
  AND coalesce((SELECT e.to_state FROM events e
                WHERE e.stock_no = c.stock_no AND e.claim_no = c.claim_no
                ORDER BY e.version DESC LIMIT 1), 'ISSUED') = 'ISSUED'
