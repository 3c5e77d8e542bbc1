-- What was received under a reference. $1 campaign_no, $2 reference
SELECT amount_fen, received_on FROM fund_receipts WHERE campaign_no = $1 AND reference = $2
