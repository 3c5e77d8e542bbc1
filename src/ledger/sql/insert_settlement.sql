-- Freeze a period of a campaign, which begins where the one before it ended; its number.
-- $1 campaign_no, $2 until, $3 the instant, null for the server's clock, $4 request number, $5 heads of the journals
INSERT INTO settlements (campaign_no, nth, begins_at, until, frozen_at, request_no, heads)
SELECT $1, coalesce(p.nth, 0) + 1, p.until, $2, coalesce($3::timestamptz, clock_timestamp()), $4, $5
FROM (SELECT) AS one
LEFT JOIN (SELECT nth, until FROM settlements WHERE campaign_no = $1 ORDER BY nth DESC LIMIT 1) AS p ON true
RETURNING settlement_no
