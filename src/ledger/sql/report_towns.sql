-- What was used in each town, the largest first. $1 campaign_id
SELECT m.town, count(DISTINCT m.merchant_no) AS merchants, count(*) AS used,
       sum(x.order_amount_fen - coalesce(f.refund_total_fen, 0))::bigint AS spent_fen,
       sum(x.discount_fen - coalesce(f.returned_total_fen, 0))::bigint   AS subsidy_fen
FROM campaigns c
JOIN rounds r USING (campaign_no)
JOIN stocks s USING (round_no)
JOIN redemptions x USING (stock_no)
JOIN merchants m USING (merchant_no)
LEFT JOIN LATERAL (
    SELECT y.refund_total_fen, y.returned_total_fen FROM refunds y
    WHERE y.redemption_no = x.redemption_no ORDER BY y.nth DESC LIMIT 1
) AS f ON true
WHERE c.campaign_id = $1 AND NOT EXISTS (SELECT FROM reversals v WHERE v.redemption_no = x.redemption_no)
GROUP BY m.town
ORDER BY spent_fen DESC, m.town
