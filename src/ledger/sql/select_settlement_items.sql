-- Every event of a settlement with what it was for, merchant by merchant. $1 settlement_no
SELECT i.event_no, e.at, i.kind, i.merchant_no, m.name, s.stock_id, e.claim_no, x.redemption_id, x.order_no,
       x.order_amount_fen, f.refund_id, f.refund_amount_fen, i.amount_fen
FROM settlement_items i
JOIN events e USING (event_no)
JOIN merchants m ON m.merchant_no = i.merchant_no
JOIN stocks s ON s.stock_no = e.stock_no
JOIN redemptions x ON x.redemption_no = e.redemption_no
LEFT JOIN refunds f ON f.event_no = i.event_no
WHERE i.settlement_no = $1
ORDER BY i.merchant_no, i.event_no
