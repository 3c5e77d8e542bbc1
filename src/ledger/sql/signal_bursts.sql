-- Note each merchant at which more vouchers than expected were used within a short time; how many signals are new.
-- $1 the short time in seconds, $2 vouchers within it that are still expected, $3 how far to look back
WITH used AS (
    SELECT e.event_no, e.merchant_no, e.at, e.stock_no, e.claim_no, lag(e.at, $2::integer) OVER uses AS earlier_at
    FROM events e
    WHERE e.kind = 'REDEEM' AND e.at > now() - $3::interval
    WINDOW uses AS (PARTITION BY e.merchant_no ORDER BY e.at, e.event_no)
), burst AS (
    SELECT merchant_no, to_timestamp(floor(extract(epoch FROM at) / $1::integer) * $1::integer) AS begins_at,
           min(earlier_at) AS first_at, max(at) AS last_at
    FROM used
    WHERE earlier_at >= at - make_interval(secs => $1::integer)
    GROUP BY 1, 2
)
INSERT INTO signals (kind, subject, begins_at, merchant_no, vouchers, figures)
SELECT 'MERCHANT_BURST', b.merchant_no, b.begins_at, b.merchant_no, (u.vouchers)[:100],
       jsonb_build_object('vouchers', cardinality(u.vouchers), 'first_at', b.first_at, 'last_at', b.last_at,
                          'expected_max', $2::integer, 'within_s', $1::integer)
FROM burst b
CROSS JOIN LATERAL (
    SELECT array_agg(s.stock_id || ':' || x.claim_no ORDER BY x.event_no) AS vouchers
    FROM used x JOIN stocks s USING (stock_no)
    WHERE x.merchant_no = b.merchant_no AND x.at BETWEEN b.first_at AND b.last_at
) AS u
ORDER BY b.begins_at DESC
LIMIT 1000
ON CONFLICT (kind, subject, begins_at) DO NOTHING
RETURNING signal_no
