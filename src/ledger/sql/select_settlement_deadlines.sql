-- By when each campaign is to be settled, and what is not: owed to merchants, and events in no settlement.
-- $1 the instant, null for the server's clock
SELECT c.campaign_id, (c.document ->> 'settle_by')::timestamptz AS settle_by,
       (c.document ->> 'settle_by')::timestamptz <= coalesce($1::timestamptz, clock_timestamp()) AS is_over,
       coalesce((SELECT sum(b.balance_fen) FROM balances b
                 WHERE b.campaign_no = c.campaign_no AND b.kind = 'PAYABLE'), 0)::bigint AS owed_fen,
       coalesce((SELECT b.balance_fen FROM balances b
                 WHERE b.campaign_no = c.campaign_no AND b.kind = 'PAID_OUT'), 0) AS paid_fen
FROM campaigns c
ORDER BY c.campaign_no
