-- Ask for a grave act.
-- $1 action, $2 target, $3 reason, $4 who asks
INSERT INTO admin_requests (action, target, reason, requested_by) VALUES ($1, $2, $3, $4) RETURNING request_no
