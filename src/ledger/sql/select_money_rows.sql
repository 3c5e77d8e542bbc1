-- The events of a campaign, each with its transfer and what it was for, in the order of their blocks, those in no block
-- last; every column that is not generated.
-- $1 journal_no, $2 campaign_no, $3 whether only those in no block, $4 how many at most, $5 numbered above what
SELECT s.block_no, e.event_no AS row_no, NULL AS user_ref,
       ARRAY[e.event_no, (extract(epoch FROM e.at) * 1000000)::bigint, e.amount_fen]::text[]
       || ARRAY[e.kind, e.campaign_no::text, e.stock_no::text, e.face_fen::text, e.units::text, e.claim_no::text,
                e.version::text, e.from_state, e.to_state, e.redemption_no::text, e.merchant_no,
                (extract(epoch FROM e.settled_until) * 1000000)::bigint::text]
       || ARRAY[t.event_no::text, t.amount_fen::text, t.event_kind, t.campaign_no::text, t.stock_holder, t.merchant_holder,
                t.debit_kind, t.credit_kind]
       || ARRAY[x.redemption_no::text, x.redemption_id, x.stock_no::text, x.claim_no::text, x.discount_fen::text,
                x.threshold_fen::text, x.merchant_no, x.order_no, x.order_amount_fen::text, x.channel, x.attempt::text,
                x.caller, x.out_request_no]
       || ARRAY[v.redemption_no::text, v.merchant_no, v.order_no, v.attempt::text, v.caller, v.out_request_no]
       || ARRAY[f.refund_id, f.redemption_no::text, f.nth::text, f.event_no::text, f.order_amount_fen::text,
                f.discount_fen::text, f.refund_amount_fen::text, f.returned_fen::text, f.refund_total_fen::text,
                f.returned_total_fen::text, f.caller, f.out_request_no]
       || ARRAY[m.event_no::text, m.campaign_no::text, m.reference, m.amount_fen::text, to_char(m.received_on, 'YYYY-MM-DD'), m.recorded_by]
       -- Only where there is one: lines that were sealed before there were deeds stay what they were.
       || CASE WHEN m.deed_no IS NULL THEN '{}' ELSE ARRAY[m.deed_no::text] END
       AS fields
FROM events e
LEFT JOIN sealed_rows s ON s.journal_no = $1 AND s.row_no = e.event_no
LEFT JOIN transfers t ON t.event_no = e.event_no
LEFT JOIN redemptions x ON x.redemption_no = e.begun_redemption
LEFT JOIN reversals v ON v.redemption_no = e.ended_redemption
LEFT JOIN refunds f ON f.event_no = e.event_no
LEFT JOIN fund_receipts m ON m.event_no = e.event_no
WHERE e.campaign_no = $2 AND e.event_no > $5 AND (NOT $3 OR s.block_no IS NULL)
ORDER BY s.block_no, e.event_no
LIMIT $4
