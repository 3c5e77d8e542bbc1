-- Return the money of the vouchers of a sealed round that nobody claimed; how many vouchers that were. $1 round_no
WITH sealed AS (
    SELECT r.campaign_no, s.stock_no, s.discount_fen,
           s.quantity - (SELECT count(*) FROM claims c WHERE c.stock_no = s.stock_no) AS units
    FROM stocks s JOIN rounds r USING (round_no)
    WHERE r.round_no = $1 AND r.sealed_at IS NOT NULL
), event AS (
    INSERT INTO events (kind, campaign_no, stock_no, face_fen, units, amount_fen)
    SELECT 'NEVER_CLAIMED', campaign_no, stock_no, discount_fen, units, discount_fen * units FROM sealed
    RETURNING event_no, kind, campaign_no, amount_fen, stock_holder, merchant_holder, units
), moved AS (
    INSERT INTO transfers (event_no, event_kind, campaign_no, amount_fen, stock_holder, merchant_holder, debit_kind, credit_kind)
    SELECT e.event_no, e.kind, e.campaign_no, e.amount_fen, e.stock_holder, e.merchant_holder, p.debit_kind, p.credit_kind
    FROM event e JOIN posting_rules p ON p.event_kind = e.kind
    WHERE e.amount_fen > 0
)
SELECT coalesce(sum(units), 0) FROM event
