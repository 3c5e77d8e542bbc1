-- Store a stock; its limit is its own, or that of the campaign's first stock of the same class and tier.
-- $1 stock_id, $2 round_no, $3 class, $4 tier, $5 name, $6 threshold_fen, $7 discount_fen, $8 quantity,
-- $9 available_until, $10 gate_tag, $11 whether the limit spans rounds
WITH numbered AS (
    SELECT nextval(pg_get_serial_sequence('stocks', 'stock_no'))::integer AS stock_no
), first AS (
    SELECT min(s.stock_no) AS stock_no
    FROM stocks s JOIN rounds r USING (round_no)
    WHERE $11 AND s.class = $3 AND s.tier = $4
      AND r.campaign_no = (SELECT campaign_no FROM rounds WHERE round_no = $2)
)
INSERT INTO stocks (stock_no, stock_id, round_no, class, tier, name, threshold_fen, discount_fen, quantity,
                    available_until, gate_tag, limit_no, class_tier_limit)
OVERRIDING SYSTEM VALUE
SELECT numbered.stock_no, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, coalesce(first.stock_no, numbered.stock_no), $11::boolean::integer
FROM numbered, first
RETURNING stock_no, limit_no
