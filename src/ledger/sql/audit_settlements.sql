-- Settlements that do not add up: lines that differ from their events, events of other merchants or times, payouts that
-- are not the line's, settlements that are paid in part, and payouts outside of any settlement.
WITH item AS (
    SELECT i.settlement_no, i.merchant_no,
           bool_or((e.merchant_no, e.kind, e.amount_fen) IS DISTINCT FROM (i.merchant_no, i.kind, i.amount_fen)) AS is_foreign,
           max(e.at) AS last_at,
           coalesce(sum(i.amount_fen) FILTER (WHERE i.kind = 'REDEEM'), 0)     AS redeemed_fen,
           coalesce(sum(i.amount_fen) FILTER (WHERE i.kind = 'REVERSE'), 0)    AS reversed_fen,
           coalesce(sum(i.amount_fen) FILTER (WHERE i.kind = 'REFUND'), 0)     AS refunded_fen,
           coalesce(sum(i.amount_fen) FILTER (WHERE i.kind = 'CLAW_BACK'), 0)  AS clawed_back_fen,
           count(*) FILTER (WHERE i.kind = 'REDEEM')     AS redeemed,
           count(*) FILTER (WHERE i.kind = 'REVERSE')    AS reversed,
           count(*) FILTER (WHERE i.kind = 'REFUND')     AS refunded,
           count(*) FILTER (WHERE i.kind = 'CLAW_BACK')  AS clawed_back
    FROM settlement_items i LEFT JOIN events e USING (event_no)
    GROUP BY i.settlement_no, i.merchant_no
), fault AS (
    SELECT settlement_no, merchant_no, 'its line differs from its events' AS fault
    FROM settlement_lines l FULL JOIN item i USING (settlement_no, merchant_no)
    WHERE (coalesce(l.redeemed, 0), coalesce(l.redeemed_fen, 0), coalesce(l.reversed, 0), coalesce(l.reversed_fen, 0),
           coalesce(l.refunded, 0), coalesce(l.refunded_fen, 0), coalesce(l.clawed_back, 0), coalesce(l.clawed_back_fen, 0))
          <>
          (coalesce(i.redeemed, 0), coalesce(i.redeemed_fen, 0), coalesce(i.reversed, 0), coalesce(i.reversed_fen, 0),
           coalesce(i.refunded, 0), coalesce(i.refunded_fen, 0), coalesce(i.clawed_back, 0), coalesce(i.clawed_back_fen, 0))
    UNION ALL
    SELECT settlement_no, merchant_no, 'an event is not the one that was settled' FROM item WHERE is_foreign
    UNION ALL
    SELECT i.settlement_no, i.merchant_no, 'an event is later than the period'
    FROM item i JOIN settlements s USING (settlement_no) WHERE i.last_at >= s.until
    UNION ALL
    SELECT l.settlement_no, l.merchant_no, 'its payout is not its line''s'
    FROM settlements s
    JOIN admin_acts a USING (request_no)
    JOIN settlement_lines l USING (settlement_no)
    LEFT JOIN settlement_payouts p USING (settlement_no, merchant_no)
    LEFT JOIN events e ON e.event_no = p.event_no
    WHERE (e.kind, e.merchant_no, e.amount_fen, e.settled_until) IS DISTINCT FROM ('SETTLE', l.merchant_no, l.paid_fen, s.until)
    UNION ALL
    SELECT p.settlement_no, p.merchant_no, 'it is paid before two persons agreed'
    FROM settlement_payouts p LEFT JOIN settlements s USING (settlement_no, request_no)
    WHERE NOT EXISTS (SELECT FROM admin_acts a WHERE a.request_no = s.request_no)
)
SELECT c.campaign_id || '-s' || s.nth AS settlement_id, f.merchant_no, f.fault
FROM fault f JOIN settlements s USING (settlement_no) JOIN campaigns c USING (campaign_no)
UNION ALL
SELECT c.campaign_id, e.merchant_no, 'event ' || e.event_no || ' pays outside of any settlement'
FROM events e JOIN campaigns c USING (campaign_no)
WHERE e.kind = 'SETTLE' AND NOT EXISTS (SELECT FROM settlement_payouts p WHERE p.event_no = e.event_no)
