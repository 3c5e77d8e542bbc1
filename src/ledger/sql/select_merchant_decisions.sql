-- The journal of one merchant, oldest first.
-- $1 its number
SELECT decision_no, from_state, to_state, actor, reason, at
FROM merchant_decisions
WHERE merchant_no = $1
ORDER BY decision_no
