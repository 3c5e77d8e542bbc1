-- How many vouchers of a round each user has. $1 round_no
SELECT user_ref, count(*) AS taken FROM claims WHERE round_no = $1 GROUP BY user_ref
