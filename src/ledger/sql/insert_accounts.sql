-- Open the accounts of a campaign that are not open yet, each with a balance of nothing. $1 campaign_no
WITH opened AS (
    INSERT INTO accounts (campaign_no, kind, stock_no, round_no)
    SELECT $1::integer, k.kind, NULL::integer, NULL::integer
    FROM (VALUES ('EXTERNAL'), ('POOL'), ('PAID_OUT')) AS k (kind)
    UNION ALL
    SELECT r.campaign_no, 'RESERVED', s.stock_no, s.round_no
    FROM stocks s JOIN rounds r USING (round_no)
    WHERE r.campaign_no = $1
    ON CONFLICT DO NOTHING
    RETURNING campaign_no, kind, holder
)
INSERT INTO balances (campaign_no, kind, holder)
SELECT campaign_no, kind, holder FROM opened
