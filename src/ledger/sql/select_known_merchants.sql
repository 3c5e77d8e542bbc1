-- Which of these numbers belong to a stored merchant.
-- $1 numbers
SELECT merchant_no
FROM merchants
WHERE merchant_no = ANY ($1::text[])
