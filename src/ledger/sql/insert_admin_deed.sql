-- Write down what is done in this transaction.
-- $1 action, $2 target, $3 who, $4 why, $5 facts before (JSON) or NULL, $6 facts after (JSON) or NULL, $7 request or NULL
INSERT INTO admin_deeds (action, target, subject, reason, before, after, request_no)
VALUES ($1, $2, $3, $4, $5::jsonb, $6::jsonb, $7)
RETURNING deed_no
