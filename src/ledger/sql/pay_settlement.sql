-- Pay every line of a settlement: event, money and payout in one statement, or nothing at all; a line that gets nothing
-- has its event too. How many merchants, and how much. $1 settlement_no, $2 the instant, null for the server's clock
WITH line AS (
    SELECT l.settlement_no, l.merchant_no, l.campaign_no, l.paid_fen, s.until, s.request_no
    FROM settlements s JOIN settlement_lines l USING (settlement_no)
    WHERE s.settlement_no = $1
), event AS (
    INSERT INTO events (kind, campaign_no, merchant_no, settled_until, amount_fen, at)
    SELECT 'SETTLE', campaign_no, merchant_no, until, paid_fen, coalesce($2::timestamptz, clock_timestamp())
    FROM line
    ORDER BY merchant_no
    RETURNING event_no, kind, campaign_no, amount_fen, stock_holder, merchant_holder
), moved AS (
    INSERT INTO transfers (event_no, event_kind, campaign_no, amount_fen, stock_holder, merchant_holder, debit_kind, credit_kind)
    SELECT e.event_no, e.kind, e.campaign_no, e.amount_fen, e.stock_holder, e.merchant_holder, p.debit_kind, p.credit_kind
    FROM event e JOIN posting_rules p ON p.event_kind = e.kind
    WHERE e.amount_fen > 0
), payout AS (
    INSERT INTO settlement_payouts (settlement_no, merchant_no, campaign_no, paid_fen, event_no, request_no)
    SELECT l.settlement_no, l.merchant_no, l.campaign_no, l.paid_fen, e.event_no, l.request_no
    FROM event e JOIN line l ON l.merchant_no = e.merchant_holder
    RETURNING paid_fen
)
SELECT count(*) AS merchants, coalesce(sum(paid_fen), 0)::bigint AS paid_fen FROM payout
