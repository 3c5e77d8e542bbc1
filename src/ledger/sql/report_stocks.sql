-- What became of the vouchers of each stock of a campaign. $1 campaign_id
WITH use AS (
    SELECT x.stock_no, count(*) AS used,
           sum(x.order_amount_fen - coalesce(f.refund_total_fen, 0)) AS spent_fen,
           sum(x.discount_fen - coalesce(f.returned_total_fen, 0))   AS subsidy_fen
    FROM redemptions x
    LEFT JOIN LATERAL (
        SELECT y.refund_total_fen, y.returned_total_fen FROM refunds y
        WHERE y.redemption_no = x.redemption_no ORDER BY y.nth DESC LIMIT 1
    ) AS f ON true
    WHERE NOT EXISTS (SELECT FROM reversals v WHERE v.redemption_no = x.redemption_no)
    GROUP BY x.stock_no
), lapse AS (
    SELECT stock_no, coalesce(sum(units) FILTER (WHERE kind = 'EXPIRE'), 0) AS expired,
           coalesce(sum(units) FILTER (WHERE kind = 'NEVER_CLAIMED'), 0)    AS returned,
           coalesce(sum(units) FILTER (WHERE kind = 'VOID'), 0)             AS voided
    FROM events WHERE kind IN ('EXPIRE', 'NEVER_CLAIMED', 'VOID') GROUP BY stock_no
)
SELECT s.stock_id, s.name, r.round_id, s.class AS class_code, s.tier, s.quantity,
       (SELECT count(*) FROM claims k WHERE k.stock_no = s.stock_no) AS issued,
       coalesce(u.used, 0) AS used, coalesce(l.expired, 0) AS expired, coalesce(l.returned, 0) AS returned,
       coalesce(l.voided, 0) AS voided,
       coalesce(u.spent_fen, 0)::bigint AS spent_fen, coalesce(u.subsidy_fen, 0)::bigint AS subsidy_fen
FROM stocks s
JOIN rounds r USING (round_no)
JOIN campaigns c USING (campaign_no)
LEFT JOIN use u USING (stock_no)
LEFT JOIN lapse l USING (stock_no)
WHERE c.campaign_id = $1
ORDER BY s.stock_no
