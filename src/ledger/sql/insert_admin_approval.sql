-- Approve a request that nobody has approved; nothing is returned if there is no such one.
-- $1 request number, $2 who approves, $3 reason
INSERT INTO admin_approvals (request_no, requested_by, approved_by, reason)
SELECT request_no, requested_by, $2, $3 FROM admin_requests WHERE request_no = $1
ON CONFLICT DO NOTHING
RETURNING request_no
