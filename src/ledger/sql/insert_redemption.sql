-- Use a voucher: answer, redemption, event and money in one statement, or nothing at all.  A version, an order or a
-- request that another was faster to take raises; a merchant that is not approved any more leaves no row.
-- $1 redemption_id, $2 stock_no, $3 claim_no, $4 version, $5 merchant_no, $6 order_no, $7 order amount in fen,
-- $8 channel, $9 attempt, $10 the instant, $11 caller, $12 out_request_no, $13 digest of the body, $14 answer
WITH facts AS (
    SELECT s.stock_no, s.discount_fen, s.threshold_fen, r.campaign_no, m.merchant_no
    FROM stocks s JOIN rounds r USING (round_no) CROSS JOIN merchants m
    WHERE s.stock_no = $2 AND m.merchant_no = $5 AND m.state = 'APPROVED'
), request AS (
    INSERT INTO requests (caller, out_request_no, body_digest, verdict, answer)
    SELECT $11, $12, $13, 'DONE', $14 FROM facts
), redemption AS (
    INSERT INTO redemptions (redemption_id, stock_no, claim_no, discount_fen, threshold_fen, merchant_no, order_no,
                             order_amount_fen, channel, attempt, caller, out_request_no)
    SELECT $1, stock_no, $3, discount_fen, threshold_fen, merchant_no, $6, $7, $8, $9, $11, $12 FROM facts
    RETURNING redemption_no
), account AS (
    INSERT INTO accounts (campaign_no, kind, merchant_no)
    SELECT campaign_no, 'PAYABLE', merchant_no FROM facts
    ON CONFLICT DO NOTHING
    RETURNING campaign_no, kind, holder
), balance AS (
    INSERT INTO balances (campaign_no, kind, holder)
    SELECT campaign_no, kind, holder FROM account
), event AS (
    INSERT INTO events (kind, campaign_no, stock_no, face_fen, units, amount_fen, claim_no, version, from_state, to_state,
                        redemption_no, merchant_no, at)
    SELECT 'REDEEM', f.campaign_no, f.stock_no, f.discount_fen, 1, f.discount_fen, $3, $4, 'ISSUED', 'USED',
           x.redemption_no, f.merchant_no, $10
    FROM facts f CROSS JOIN redemption x
    RETURNING event_no, kind, campaign_no, amount_fen, stock_holder, merchant_holder
), moved AS (
    INSERT INTO transfers (event_no, event_kind, campaign_no, amount_fen, stock_holder, merchant_holder, debit_kind, credit_kind)
    SELECT e.event_no, e.kind, e.campaign_no, e.amount_fen, e.stock_holder, e.merchant_holder, p.debit_kind, p.credit_kind
    FROM event e JOIN posting_rules p ON p.event_kind = e.kind
)
SELECT count(*) FROM event
