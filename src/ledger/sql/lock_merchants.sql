-- Read what a decision on merchants depends on, and let no other decision on them come between.
-- $1 the merchants' numbers
SELECT merchant_no, state, accepts
FROM merchants
WHERE merchant_no = ANY ($1::text[])
ORDER BY merchant_no
FOR NO KEY UPDATE
