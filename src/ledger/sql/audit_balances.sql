-- Balances that are not the sum of their transfers, or negative where none may be.
SELECT c.campaign_id, kind, holder, coalesce(b.balance_fen, 0) AS balance_fen, coalesce(m.fen, 0) AS moved_fen
FROM balances b
FULL JOIN (
    SELECT campaign_no, kind, holder, sum(fen) AS fen
    FROM (
        SELECT campaign_no, credit_kind AS kind, credit_holder AS holder, amount_fen AS fen FROM transfers
        UNION ALL
        SELECT campaign_no, debit_kind, debit_holder, -amount_fen FROM transfers
    ) AS sides
    GROUP BY campaign_no, kind, holder
) AS m USING (campaign_no, kind, holder)
JOIN campaigns c USING (campaign_no)
WHERE coalesce(b.balance_fen, 0) <> coalesce(m.fen, 0)
   OR (kind IN ('POOL', 'RESERVED', 'PAID_OUT') AND b.balance_fen < 0)
