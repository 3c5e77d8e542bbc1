-- By when each campaign is to be settled, and what is not: what merchants are owed, and what others of them owe.
-- $1 the instant, null for the server's clock
SELECT c.campaign_id, (c.document ->> 'settle_by')::timestamptz AS settle_by,
       (c.document ->> 'settle_by')::timestamptz <= t.at AS is_over,
       floor(extract(epoch FROM (c.document ->> 'settle_by')::timestamptz - t.at) / 86400)::integer AS days_left,
       coalesce(p.owed_fen, 0)::bigint AS owed_fen, coalesce(p.owing_fen, 0)::bigint AS owing_fen,
       coalesce((SELECT b.balance_fen FROM balances b
                 WHERE b.campaign_no = c.campaign_no AND b.kind = 'PAID_OUT'), 0) AS paid_fen
FROM campaigns c
CROSS JOIN (SELECT coalesce($1::timestamptz, clock_timestamp()) AS at) AS t
LEFT JOIN (
    SELECT campaign_no, sum(greatest(balance_fen, 0)) AS owed_fen, sum(greatest(-balance_fen, 0)) AS owing_fen
    FROM balances WHERE kind = 'PAYABLE' GROUP BY campaign_no
) AS p USING (campaign_no)
ORDER BY c.campaign_no
