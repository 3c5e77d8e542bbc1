-- Book money that has arrived: the world outside to the campaign's pool.
-- $1 campaign_no, $2 amount in fen, $3 reference, $4 the day it arrived, $5 who says so, $6 the deed or NULL
WITH event AS (
    INSERT INTO events (kind, campaign_no, amount_fen)
    VALUES ('FUND_RECEIVED', $1, $2)
    RETURNING event_no, kind, campaign_no, amount_fen, stock_holder, merchant_holder
), receipt AS (
    INSERT INTO fund_receipts (event_no, campaign_no, amount_fen, reference, received_on, recorded_by, deed_no)
    SELECT event_no, campaign_no, amount_fen, $3, $4, $5, $6::bigint FROM event
)
INSERT INTO transfers (event_no, event_kind, campaign_no, amount_fen, stock_holder, merchant_holder, debit_kind, credit_kind)
SELECT e.event_no, e.kind, e.campaign_no, e.amount_fen, e.stock_holder, e.merchant_holder, p.debit_kind, p.credit_kind
FROM event e JOIN posting_rules p ON p.event_kind = e.kind
