-- Note each owner who paid more than once at one merchant within some minutes, every time just above the threshold, as
-- whoever splits a payment does; payments that were reversed do not count.  How many signals are new.
-- $1 the minutes, in seconds, $2 how far above the threshold is just above it, in percent, $3 how far to look back
WITH paid AS (
    SELECT e.event_no, e.at, x.merchant_no, c.user_ref, x.stock_no, x.claim_no, x.order_amount_fen,
           lag(e.at) OVER orders AS earlier_at
    FROM events e
    JOIN redemptions x ON x.redemption_no = e.begun_redemption
    JOIN claims c ON c.stock_no = x.stock_no AND c.claim_no = x.claim_no
    WHERE e.kind = 'REDEEM' AND e.at > now() - $3::interval
      AND x.order_amount_fen * 100 <= x.threshold_fen * (100 + $2::integer)
      AND NOT EXISTS (SELECT FROM reversals y WHERE y.redemption_no = x.redemption_no)
    WINDOW orders AS (PARTITION BY x.merchant_no, c.user_ref ORDER BY e.at, e.event_no)
), split AS (
    SELECT merchant_no, user_ref, to_timestamp(floor(extract(epoch FROM at) / $1::integer) * $1::integer) AS begins_at,
           min(earlier_at) AS first_at, max(at) AS last_at
    FROM paid
    WHERE earlier_at >= at - make_interval(secs => $1::integer)
    GROUP BY 1, 2, 3
)
INSERT INTO signals (kind, subject, begins_at, merchant_no, vouchers, figures)
SELECT 'SPLIT_PAYMENTS', p.merchant_no || ' ' || p.user_ref, p.begins_at, p.merchant_no, (o.vouchers)[:100],
       jsonb_build_object('orders', cardinality(o.vouchers), 'amounts_fen', o.amounts, 'first_at', p.first_at,
                          'last_at', p.last_at, 'above_percent_max', $2::integer, 'within_s', $1::integer)
FROM split p
CROSS JOIN LATERAL (
    SELECT array_agg(s.stock_id || ':' || x.claim_no ORDER BY x.event_no) AS vouchers,
           to_jsonb((array_agg(x.order_amount_fen ORDER BY x.event_no))[:100])  AS amounts
    FROM paid x JOIN stocks s USING (stock_no)
    WHERE x.merchant_no = p.merchant_no AND x.user_ref = p.user_ref AND x.at BETWEEN p.first_at AND p.last_at
) AS o
ORDER BY p.begins_at DESC
LIMIT 1000
ON CONFLICT (kind, subject, begins_at) DO NOTHING
RETURNING signal_no
