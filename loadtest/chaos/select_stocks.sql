-- Every stock: its quantity, how many vouchers it has, and under which limit its users stand.
SELECT s.stock_id, c.campaign_id || '/' || r.round_id AS round_id, s.quantity, s.limit_no, s.gate_tag,
       (SELECT count(*) FROM vouchers v WHERE v.stock_no = s.stock_no) AS minted
FROM stocks s
JOIN rounds r USING (round_no)
JOIN campaigns c USING (campaign_no)
