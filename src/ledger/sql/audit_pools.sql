-- Accounts that do not hold what the facts say: a stock's for each voucher that can still be used or is held, a merchant's for each
-- redemption that stands, the world's for what was received, and what is paid out for the settlements.
WITH stock_facts AS (
    SELECT r.campaign_no, 'RESERVED' AS kind, s.stock_no::text AS holder,
           s.discount_fen * (
               m.units
               - coalesce((SELECT n.units FROM events n WHERE n.stock_no = s.stock_no AND n.kind = 'NEVER_CLAIMED'), 0)
               - (SELECT count(*) FROM claims c
                  WHERE c.stock_no = s.stock_no AND (
                      SELECT e.to_state FROM events e
                      WHERE e.stock_no = c.stock_no AND e.claim_no = c.claim_no
                      ORDER BY e.version DESC LIMIT 1) NOT IN ('ISSUED', 'HELD'))
           ) AS fen
    FROM stocks s
    JOIN rounds r USING (round_no)
    JOIN events m ON m.stock_no = s.stock_no AND m.kind = 'MINT'
), merchant_facts AS (
    SELECT campaign_no, 'PAYABLE' AS kind, merchant_no AS holder, sum(fen)::bigint AS fen
    FROM (
        SELECT r.campaign_no, x.merchant_no,
               x.discount_fen - coalesce((SELECT sum(f.returned_fen) FROM refunds f WHERE f.redemption_no = x.redemption_no), 0) AS fen
        FROM redemptions x JOIN stocks s USING (stock_no) JOIN rounds r ON r.round_no = s.round_no
        WHERE NOT EXISTS (SELECT FROM reversals y WHERE y.redemption_no = x.redemption_no)
        UNION ALL
        SELECT e.campaign_no, e.merchant_no, -e.amount_fen FROM events e WHERE e.kind = 'SETTLE'
    ) AS parts
    GROUP BY campaign_no, merchant_no
), campaign_facts AS (
    SELECT campaign_no, 'EXTERNAL' AS kind, '' AS holder, -sum(amount_fen)::bigint AS fen FROM fund_receipts GROUP BY campaign_no
    UNION ALL
    SELECT campaign_no, 'PAID_OUT', '', sum(amount_fen)::bigint FROM events WHERE kind = 'SETTLE' GROUP BY campaign_no
), facts AS (
    SELECT * FROM stock_facts UNION ALL SELECT * FROM merchant_facts UNION ALL SELECT * FROM campaign_facts
)
SELECT c.campaign_id, kind, holder, coalesce(b.balance_fen, 0) AS balance_fen, coalesce(f.fen, 0) AS fact_fen
FROM (SELECT * FROM balances WHERE kind <> 'POOL') AS b
FULL JOIN facts f USING (campaign_no, kind, holder)
JOIN campaigns c USING (campaign_no)
WHERE coalesce(b.balance_fen, 0) <> coalesce(f.fen, 0)
