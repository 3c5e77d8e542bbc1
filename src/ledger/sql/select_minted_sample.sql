-- The first voucher that was minted.
SELECT stocks.stock_id, vouchers.claim_no, vouchers.code_hash
FROM vouchers JOIN stocks USING (stock_no)
ORDER BY vouchers.stock_no, vouchers.claim_no LIMIT 1
