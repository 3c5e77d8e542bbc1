-- One merchant.
-- $1 its number
SELECT merchant_no, name, address, town, category, accepts, state, photo_sha256, photo_type, submitted_by, submitted_at
FROM merchants
WHERE merchant_no = $1
