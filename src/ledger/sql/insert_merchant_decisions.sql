-- Write the same decision into the journals of merchants, each from the state it is in; the state follows by itself.
-- $1 the merchants' numbers, $2 the state after it, $3 actor, $4 reason
INSERT INTO merchant_decisions (merchant_no, decision_no, from_state, to_state, actor, reason)
SELECT merchant_no, decision_no + 1, state, $2, $3, $4
FROM merchants
WHERE merchant_no = ANY ($1::text[])
