-- Rounds that closed a while ago, whose stocks all have their money, and that are not sealed.
-- $1 seconds since the closing, $2 the instant, null for the server's clock
SELECT r.round_no, r.round_id, c.campaign_id, array_agg(s.stock_id ORDER BY s.stock_no) AS stock_ids
FROM rounds r
JOIN campaigns c USING (campaign_no)
JOIN stocks s USING (round_no)
LEFT JOIN events m ON m.stock_no = s.stock_no AND m.kind = 'MINT'
WHERE r.sealed_at IS NULL
  AND r.closes_at + make_interval(secs => $1) <= coalesce($2::timestamptz, clock_timestamp())
GROUP BY r.round_no, r.round_id, c.campaign_id
HAVING count(m.event_no) = count(*)
ORDER BY r.round_no
