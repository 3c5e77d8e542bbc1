-- Rounds some of whose vouchers have no money yet, and how much that is.
SELECT c.campaign_id, r.round_id, r.opens_at, count(*) AS stocks, sum(s.quantity * s.discount_fen)::bigint AS needed_fen
FROM rounds r JOIN campaigns c USING (campaign_no) JOIN stocks s USING (round_no)
WHERE NOT EXISTS (SELECT FROM events e WHERE e.stock_no = s.stock_no AND e.kind = 'MINT')
GROUP BY c.campaign_id, r.round_id, r.opens_at, r.round_no
ORDER BY r.round_no
