-- Begin a journal for each stock and for each campaign that has none.
INSERT INTO journals (stock_no, campaign_no)
SELECT stock_no, NULL FROM stocks WHERE stock_no NOT IN (SELECT stock_no FROM journals WHERE stock_no IS NOT NULL)
UNION ALL
SELECT NULL, campaign_no FROM campaigns WHERE campaign_no NOT IN (SELECT campaign_no FROM journals WHERE campaign_no IS NOT NULL)
ON CONFLICT DO NOTHING
