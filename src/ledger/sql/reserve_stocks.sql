-- Set money aside for the vouchers of stocks that have none yet, in their order, as far as the pool reaches.
-- $1 campaign_no
WITH waiting AS (
    SELECT s.stock_no, s.stock_id, s.discount_fen, s.quantity,
           sum(s.discount_fen * s.quantity) OVER (ORDER BY s.stock_no) AS needed_fen
    FROM stocks s JOIN rounds r USING (round_no)
    WHERE r.campaign_no = $1
      AND NOT EXISTS (SELECT FROM events m WHERE m.stock_no = s.stock_no AND m.kind = 'MINT')
), event AS (
    INSERT INTO events (kind, campaign_no, stock_no, face_fen, units, amount_fen)
    SELECT 'MINT', $1, w.stock_no, w.discount_fen, w.quantity, w.discount_fen * w.quantity
    FROM waiting w
    WHERE w.needed_fen <= (SELECT balance_fen FROM balances WHERE campaign_no = $1 AND kind = 'POOL')
    RETURNING event_no, kind, campaign_no, stock_no, amount_fen, stock_holder, merchant_holder
), moved AS (
    INSERT INTO transfers (event_no, event_kind, campaign_no, amount_fen, stock_holder, merchant_holder, debit_kind, credit_kind)
    SELECT e.event_no, e.kind, e.campaign_no, e.amount_fen, e.stock_holder, e.merchant_holder, p.debit_kind, p.credit_kind
    FROM event e JOIN posting_rules p ON p.event_kind = e.kind
)
SELECT w.stock_id, e.event_no IS NOT NULL AS is_reserved
FROM waiting w LEFT JOIN event e USING (stock_no)
ORDER BY w.stock_no
