-- Vouchers that were used after their validity or expired before its end, and what should have come to its end by now:
-- vouchers, and rounds that have their money; the worker has ten minutes for it.  A sealed round has returned what was
-- never claimed.
SELECT s.stock_id, 'voucher ' || e.claim_no || ': ' || e.kind || ' at ' || e.at AS fault
FROM events e JOIN stocks s USING (stock_no)
WHERE (e.kind = 'REDEEM' AND e.at >= s.available_until) OR (e.kind = 'EXPIRE' AND e.at < s.available_until)
UNION ALL
SELECT s.stock_id, 'voucher ' || c.claim_no || ': overdue since ' || s.available_until
FROM stocks s
JOIN balances b ON b.kind = 'RESERVED' AND b.holder = s.stock_no::text AND b.balance_fen > 0
JOIN claims c USING (stock_no)
WHERE s.available_until < now() - interval '10 minutes'
  AND coalesce((SELECT e.to_state FROM events e
                WHERE e.stock_no = c.stock_no AND e.claim_no = c.claim_no
                ORDER BY e.version DESC LIMIT 1), 'ISSUED') IN ('ISSUED', 'HELD')
UNION ALL
SELECT min(s.stock_id), 'its round is over since ' || r.closes_at || ' and not sealed'
FROM rounds r JOIN stocks s USING (round_no) LEFT JOIN events m ON m.stock_no = s.stock_no AND m.kind = 'MINT'
WHERE r.sealed_at IS NULL AND r.closes_at < now() - interval '10 minutes'
GROUP BY r.round_no, r.closes_at
HAVING count(m.event_no) = count(*)
UNION ALL
SELECT s.stock_id, 'its round is sealed, and what was never claimed has not come back'
FROM rounds r
JOIN stocks s USING (round_no)
JOIN events m ON m.stock_no = s.stock_no AND m.kind = 'MINT'
WHERE r.sealed_at IS NOT NULL AND NOT EXISTS (SELECT FROM events e WHERE e.stock_no = s.stock_no AND e.kind = 'NEVER_CLAIMED')
