-- What each merchant gets of a settlement, in the order of their numbers. $1 settlement_no
SELECT l.merchant_no, m.name, m.town, m.category, l.brought_fen, l.redeemed, l.redeemed_fen, l.reversed, l.reversed_fen,
       l.refunded, l.refunded_fen, l.clawed_back, l.clawed_back_fen, l.paid_fen, l.carried_fen
FROM settlement_lines l JOIN merchants m USING (merchant_no)
WHERE l.settlement_no = $1
ORDER BY l.merchant_no
