-- A campaign's number and its first opening; whoever else moves its fund waits until this transaction ends.
-- $1 campaign_id
SELECT c.campaign_no,
       (SELECT array_agg(r.opens_at ORDER BY r.opens_at) FROM rounds r WHERE r.campaign_no = c.campaign_no) AS openings
FROM campaigns c
WHERE c.campaign_id = $1
FOR NO KEY UPDATE
