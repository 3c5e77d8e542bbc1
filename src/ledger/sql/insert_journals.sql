-- Begin a journal for each stock and for each campaign that has none, and one for what staff did once they did something.
INSERT INTO journals (stock_no, campaign_no, of_staff)
SELECT stock_no, NULL, false FROM stocks WHERE stock_no NOT IN (SELECT stock_no FROM journals WHERE stock_no IS NOT NULL)
UNION ALL
SELECT NULL, campaign_no, false FROM campaigns
WHERE campaign_no NOT IN (SELECT campaign_no FROM journals WHERE campaign_no IS NOT NULL)
UNION ALL
SELECT NULL, NULL, true
WHERE (EXISTS (SELECT FROM admin_requests) OR EXISTS (SELECT FROM admin_deeds)) AND NOT EXISTS (SELECT FROM journals WHERE of_staff)
ON CONFLICT DO NOTHING
