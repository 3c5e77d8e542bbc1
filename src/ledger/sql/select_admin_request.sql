-- What was asked for under a number.
-- $1 request number
SELECT action, requested_by FROM admin_requests WHERE request_no = $1
