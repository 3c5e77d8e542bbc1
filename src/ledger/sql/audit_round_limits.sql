-- Users with more vouchers of a round than it allows.
SELECT r.round_id, c.user_ref, count(*) AS vouchers
FROM claims c JOIN rounds r USING (round_no)
WHERE r.round_limit > 0
GROUP BY r.round_no, r.round_id, r.round_limit, c.user_ref
HAVING count(*) > r.round_limit
