-- Let a caller go on at a merchant. $1 caller, $2 merchant_no, $3 the deed that says why
UPDATE unknown_codes SET counted = 0, locked_at = NULL, unlock_deed_no = $3 WHERE caller = $1 AND merchant_no = $2
