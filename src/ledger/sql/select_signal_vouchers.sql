-- Every voucher of the users whom a signal concerns, as it is now. $1 signal_no, $2 how many at most
WITH concerned AS (
    SELECT c.user_ref
    FROM signals g
    CROSS JOIN unnest(g.vouchers) AS v (voucher)
    JOIN stocks s ON s.stock_id = split_part(v.voucher, ':', 1)
    JOIN claims c ON c.stock_no = s.stock_no AND c.claim_no = split_part(v.voucher, ':', 2)::integer
    WHERE g.signal_no = $1
    UNION
    SELECT u.user_ref
    FROM signals g
    JOIN address_uses u ON encode(u.address_hash, 'hex') = g.subject
                       AND u.used_on = (g.begins_at AT TIME ZONE 'Asia/Shanghai')::date
    WHERE g.signal_no = $1 AND g.kind = 'SHARED_ADDRESS'
)
SELECT s.stock_id, c.claim_no, c.user_ref, c.claimed_at, coalesce(l.to_state, 'ISSUED') AS state, l.merchant_no
FROM concerned
JOIN claims c USING (user_ref)
JOIN stocks s USING (stock_no)
LEFT JOIN LATERAL (
    SELECT e.to_state, e.merchant_no FROM events e
    WHERE e.stock_no = c.stock_no AND e.claim_no = c.claim_no
    ORDER BY e.version DESC LIMIT 1
) AS l ON true
ORDER BY c.user_ref, s.stock_id
LIMIT $2
