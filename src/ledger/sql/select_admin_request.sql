-- What was asked for under a number, and why.
-- $1 request number
SELECT action, requested_by, reason FROM admin_requests WHERE request_no = $1
