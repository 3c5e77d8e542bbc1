-- How many vouchers under one limit each user has. $1 limit_no
SELECT user_ref, count(*) AS taken FROM claims WHERE limit_no = $1 GROUP BY user_ref
