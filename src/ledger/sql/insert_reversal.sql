-- Undo a redemption: answer, reversal, event and money in one statement, or nothing at all.
-- $1 redemption_no, $2 version, $3 the instant, $4 caller, $5 out_request_no, $6 digest of the body, $7 answer
WITH facts AS (
    SELECT x.redemption_no, x.stock_no, x.claim_no, x.discount_fen, x.merchant_no, x.order_no, x.attempt, b.campaign_no
    FROM redemptions x JOIN events b ON b.begun_redemption = x.redemption_no
    WHERE x.redemption_no = $1
), request AS (
    INSERT INTO requests (caller, out_request_no, body_digest, verdict, answer) VALUES ($4, $5, $6, 'DONE', $7)
), reversal AS (
    INSERT INTO reversals (redemption_no, merchant_no, order_no, attempt, caller, out_request_no)
    SELECT redemption_no, merchant_no, order_no, attempt, $4, $5 FROM facts
), event AS (
    INSERT INTO events (kind, campaign_no, stock_no, face_fen, units, amount_fen, claim_no, version, from_state, to_state,
                        redemption_no, merchant_no, at)
    SELECT 'REVERSE', campaign_no, stock_no, discount_fen, 1, discount_fen, claim_no, $2, 'USED', 'ISSUED',
           redemption_no, merchant_no, $3
    FROM facts
    RETURNING event_no, kind, campaign_no, amount_fen, stock_holder, merchant_holder
), moved AS (
    INSERT INTO transfers (event_no, event_kind, campaign_no, amount_fen, stock_holder, merchant_holder, debit_kind, credit_kind)
    SELECT e.event_no, e.kind, e.campaign_no, e.amount_fen, e.stock_holder, e.merchant_holder, p.debit_kind, p.credit_kind
    FROM event e JOIN posting_rules p ON p.event_kind = e.kind
)
SELECT count(*) FROM event
