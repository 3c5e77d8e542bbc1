-- Every balance of a campaign. $1 campaign_id
SELECT b.kind, coalesce(s.stock_id, b.holder) AS holder, b.balance_fen
FROM balances b
JOIN accounts a USING (campaign_no, kind, holder)
JOIN campaigns c USING (campaign_no)
LEFT JOIN stocks s ON s.stock_no = a.stock_no
WHERE c.campaign_id = $1
ORDER BY b.kind, a.stock_no, b.holder
