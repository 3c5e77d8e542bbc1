-- Every round: its epoch, its hours and its limit.
SELECT c.campaign_id || '/' || r.round_id AS round_id, r.epoch, r.round_limit,
       (extract(epoch FROM r.opens_at) * 1000)::bigint AS opens_ms,
       (extract(epoch FROM r.closes_at) * 1000)::bigint AS closes_ms
FROM rounds r
JOIN campaigns c USING (campaign_no)
