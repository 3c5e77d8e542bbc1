-- A lock of a caller at a merchant, kept from changing until this transaction ends. $1 caller, $2 merchant_no
SELECT caller, merchant_no, counted, since, locked_at FROM unknown_codes
WHERE caller = $1 AND merchant_no = $2 AND locked_at IS NOT NULL FOR UPDATE
