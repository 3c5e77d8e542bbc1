-- A redemption, what became of it, and what a request was answered with; always one row.
-- $1 redemption_id, $2 caller, $3 out_request_no, $4 the instant, null for the server's clock
SELECT now.at, q.body_digest, q.verdict, q.answer,
       x.redemption_no, x.redemption_id, x.stock_no, x.claim_no, s.stock_id, c.campaign_id, x.discount_fen, s.available_until,
       x.merchant_no, x.order_no, x.order_amount_fen, x.channel, x.attempt,
       b.at                             AS redeemed_at,
       z.at                             AS reversed_at,
       l.version + 1                    AS next_version,
       l.to_state                       AS state,
       coalesce(f.nth, 0) + 1           AS next_nth,
       coalesce(f.refund_total_fen, 0)  AS refund_total_fen,
       coalesce(f.returned_total_fen, 0) AS returned_total_fen,
       EXISTS (
           SELECT FROM settlement_items i JOIN settlement_payouts p USING (settlement_no, merchant_no)
           WHERE i.event_no = b.event_no
       )                                AS is_settled
FROM (SELECT coalesce($4::timestamptz, clock_timestamp()) AS at) AS now
LEFT JOIN requests q ON q.caller = $2 AND q.out_request_no = $3
LEFT JOIN redemptions x ON x.redemption_id = $1
LEFT JOIN stocks s ON s.stock_no = x.stock_no
LEFT JOIN events b ON b.begun_redemption = x.redemption_no
LEFT JOIN campaigns c ON c.campaign_no = b.campaign_no
LEFT JOIN events z ON z.ended_redemption = x.redemption_no
LEFT JOIN LATERAL (
    SELECT e.version, e.to_state FROM events e
    WHERE e.stock_no = x.stock_no AND e.claim_no = x.claim_no
    ORDER BY e.version DESC LIMIT 1
) AS l ON true
LEFT JOIN LATERAL (
    SELECT y.nth, y.refund_total_fen, y.returned_total_fen FROM refunds y
    WHERE y.redemption_no = x.redemption_no
    ORDER BY y.nth DESC LIMIT 1
) AS f ON true
