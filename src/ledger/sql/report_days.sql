-- What was claimed, used and booked as lapsed on each day in China. $1 campaign_id
WITH stock AS (
    SELECT s.stock_no FROM campaigns c JOIN rounds r USING (campaign_no) JOIN stocks s USING (round_no) WHERE c.campaign_id = $1
), issue AS (
    SELECT (k.claimed_at AT TIME ZONE interval '8 hours')::date AS day, count(*) AS issued
    FROM stock JOIN claims k USING (stock_no) GROUP BY 1
), use AS (
    SELECT (e.at AT TIME ZONE interval '8 hours')::date AS day, count(*) AS used,
           sum(x.order_amount_fen - coalesce(f.refund_total_fen, 0)) AS spent_fen,
           sum(x.discount_fen - coalesce(f.returned_total_fen, 0))   AS subsidy_fen
    FROM stock
    JOIN redemptions x USING (stock_no)
    JOIN events e ON e.begun_redemption = x.redemption_no
    LEFT JOIN LATERAL (
        SELECT y.refund_total_fen, y.returned_total_fen FROM refunds y
        WHERE y.redemption_no = x.redemption_no ORDER BY y.nth DESC LIMIT 1
    ) AS f ON true
    WHERE NOT EXISTS (SELECT FROM reversals v WHERE v.redemption_no = x.redemption_no)
    GROUP BY 1
), lapse AS (
    SELECT (e.at AT TIME ZONE interval '8 hours')::date AS day, sum(e.units) AS lapsed
    FROM stock JOIN events e USING (stock_no)
    WHERE e.kind IN ('EXPIRE', 'NEVER_CLAIMED', 'VOID') AND e.units > 0
    GROUP BY 1
)
SELECT day, coalesce(i.issued, 0) AS issued, coalesce(u.used, 0) AS used, coalesce(l.lapsed, 0) AS lapsed,
       coalesce(u.spent_fen, 0)::bigint AS spent_fen, coalesce(u.subsidy_fen, 0)::bigint AS subsidy_fen
FROM issue i FULL JOIN use u USING (day) FULL JOIN lapse l USING (day)
ORDER BY day
