-- Put every event of a merchant that lies before the end of a settlement, and is in none yet, into it, and write a line
-- for each merchant that has such events or still owes something; how many lines. $1 settlement_no
WITH settlement AS (
    SELECT settlement_no, campaign_no, until FROM settlements WHERE settlement_no = $1
), item AS (
    INSERT INTO settlement_items (event_no, settlement_no, merchant_no, campaign_no, kind, amount_fen, stock_holder)
    SELECT e.event_no, s.settlement_no, e.merchant_no, e.campaign_no, e.kind, e.amount_fen, e.stock_holder
    FROM settlement s
    JOIN events e ON e.campaign_no = s.campaign_no AND e.at < s.until
    WHERE e.kind IN ('REDEEM', 'REVERSE', 'REFUND', 'CLAW_BACK')
      AND NOT EXISTS (SELECT FROM settlement_items i WHERE i.event_no = e.event_no)
    RETURNING merchant_no, kind, amount_fen
), total AS (
    SELECT merchant_no,
           count(*) FILTER (WHERE kind = 'REDEEM')            AS redeemed,
           sum(amount_fen) FILTER (WHERE kind = 'REDEEM')     AS redeemed_fen,
           count(*) FILTER (WHERE kind = 'REVERSE')           AS reversed,
           sum(amount_fen) FILTER (WHERE kind = 'REVERSE')    AS reversed_fen,
           count(*) FILTER (WHERE kind = 'REFUND')            AS refunded,
           sum(amount_fen) FILTER (WHERE kind = 'REFUND')     AS refunded_fen,
           count(*) FILTER (WHERE kind = 'CLAW_BACK')         AS clawed_back,
           sum(amount_fen) FILTER (WHERE kind = 'CLAW_BACK')  AS clawed_back_fen
    FROM item GROUP BY merchant_no
), latest AS (
    SELECT DISTINCT ON (l.merchant_no) l.merchant_no, l.line_no, l.carried_fen
    FROM settlement_lines l JOIN settlement s ON s.campaign_no = l.campaign_no
    ORDER BY l.merchant_no, l.line_no DESC
), line AS (
    INSERT INTO settlement_lines (settlement_no, campaign_no, merchant_no, line_no, brought_fen, redeemed, redeemed_fen,
                                  reversed, reversed_fen, refunded, refunded_fen, clawed_back, clawed_back_fen)
    SELECT s.settlement_no, s.campaign_no, merchant_no, coalesce(p.line_no, 0) + 1, coalesce(p.carried_fen, 0),
           coalesce(t.redeemed, 0), coalesce(t.redeemed_fen, 0), coalesce(t.reversed, 0), coalesce(t.reversed_fen, 0),
           coalesce(t.refunded, 0), coalesce(t.refunded_fen, 0), coalesce(t.clawed_back, 0), coalesce(t.clawed_back_fen, 0)
    FROM total t FULL JOIN latest p USING (merchant_no) CROSS JOIN settlement s
    WHERE t.merchant_no IS NOT NULL OR p.carried_fen < 0
    RETURNING 1
)
SELECT count(*) FROM line
