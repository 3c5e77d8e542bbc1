-- Who showed unknown voucher codes and is locked for it, the latest first. $1 how many
SELECT caller, merchant_no, counted, since, locked_at FROM unknown_codes
WHERE locked_at IS NOT NULL ORDER BY locked_at DESC, caller, merchant_no LIMIT $1
