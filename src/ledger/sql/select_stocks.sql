-- Every stock with what its round says.
SELECT s.stock_no, s.stock_id, c.campaign_id, s.round_no, r.round_id, s.class AS class_code, s.tier, s.name,
       s.threshold_fen, s.discount_fen, s.quantity, s.available_until, r.opens_at, r.closes_at, s.gate_tag,
       r.round_limit, s.class_tier_limit, s.limit_no, s.paused, r.epoch, r.gate_run_id
FROM stocks s
JOIN rounds r USING (round_no)
JOIN campaigns c USING (campaign_no)
ORDER BY s.stock_no
