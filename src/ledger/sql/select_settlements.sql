-- Settlements with their totals and how far they are, in their order. $1 campaign_id, null for every campaign
SELECT s.settlement_no, s.request_no, c.campaign_id, s.nth, s.begins_at, s.until, s.frozen_at, s.heads,
       q.requested_by, q.reason, a.approved_by, a.approved_at,
       CASE WHEN d.request_no IS NOT NULL AND l.merchants = y.merchants THEN 'PAID'
            WHEN a.request_no IS NOT NULL                               THEN 'APPROVED'
            ELSE                                                             'FROZEN'
       END AS state,
       l.merchants, l.brought_fen, l.redeemed, l.redeemed_fen, l.reversed, l.reversed_fen, l.refunded, l.refunded_fen,
       l.clawed_back, l.clawed_back_fen, l.paid_fen, l.carried_fen
FROM settlements s
JOIN campaigns c USING (campaign_no)
JOIN admin_requests q USING (request_no)
LEFT JOIN admin_approvals a USING (request_no)
LEFT JOIN admin_acts d USING (request_no)
CROSS JOIN LATERAL (
    SELECT count(*) AS merchants,
           coalesce(sum(brought_fen), 0)::bigint     AS brought_fen,
           coalesce(sum(redeemed), 0)                AS redeemed,
           coalesce(sum(redeemed_fen), 0)::bigint    AS redeemed_fen,
           coalesce(sum(reversed), 0)                AS reversed,
           coalesce(sum(reversed_fen), 0)::bigint    AS reversed_fen,
           coalesce(sum(refunded), 0)                AS refunded,
           coalesce(sum(refunded_fen), 0)::bigint    AS refunded_fen,
           coalesce(sum(clawed_back), 0)             AS clawed_back,
           coalesce(sum(clawed_back_fen), 0)::bigint AS clawed_back_fen,
           coalesce(sum(paid_fen), 0)::bigint        AS paid_fen,
           coalesce(sum(carried_fen), 0)::bigint     AS carried_fen
    FROM settlement_lines WHERE settlement_no = s.settlement_no
) AS l
CROSS JOIN LATERAL (SELECT count(*) AS merchants FROM settlement_payouts WHERE settlement_no = s.settlement_no) AS y
WHERE $1::text IS NULL OR c.campaign_id = $1
ORDER BY s.campaign_no, s.nth
