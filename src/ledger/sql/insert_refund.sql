-- Give back the share of a discount: answer, refund, event and money in one statement, or nothing at all.  A share that
-- rounds to nothing moves no money.
-- $1 refund_id, $2 redemption_no, $3 nth, $4 amount of the goods in fen, $5 share of the discount in fen,
-- $6 version, $7 state before, $8 kind of event, $9 the instant, $10 caller, $11 out_request_no, $12 digest of the body,
-- $13 answer, $14 amount of the goods with the refunds before, $15 share with the refunds before
WITH facts AS (
    SELECT x.redemption_no, x.stock_no, x.claim_no, x.discount_fen, x.order_amount_fen, x.merchant_no, b.campaign_no
    FROM redemptions x JOIN events b ON b.begun_redemption = x.redemption_no
    WHERE x.redemption_no = $2
), request AS (
    INSERT INTO requests (caller, out_request_no, body_digest, verdict, answer) VALUES ($10, $11, $12, 'DONE', $13)
), event AS (
    INSERT INTO events (kind, campaign_no, stock_no, face_fen, units, amount_fen, claim_no, version, from_state, to_state,
                        redemption_no, merchant_no, at)
    SELECT $8, campaign_no, stock_no, discount_fen, 1, $5, claim_no, $6, $7, 'REFUNDED', redemption_no, merchant_no, $9
    FROM facts
    RETURNING event_no, kind, campaign_no, amount_fen, stock_holder, merchant_holder
), refund AS (
    INSERT INTO refunds (refund_id, redemption_no, nth, event_no, order_amount_fen, discount_fen, refund_amount_fen,
                         returned_fen, refund_total_fen, returned_total_fen, caller, out_request_no)
    SELECT $1, f.redemption_no, $3, e.event_no, f.order_amount_fen, f.discount_fen, $4, $5, $14, $15, $10, $11
    FROM facts f CROSS JOIN event e
), moved AS (
    INSERT INTO transfers (event_no, event_kind, campaign_no, amount_fen, stock_holder, merchant_holder, debit_kind, credit_kind)
    SELECT e.event_no, e.kind, e.campaign_no, e.amount_fen, e.stock_holder, e.merchant_holder, p.debit_kind, p.credit_kind
    FROM event e JOIN posting_rules p ON p.event_kind = e.kind
    WHERE e.amount_fen > 0
)
SELECT count(*) FROM event
