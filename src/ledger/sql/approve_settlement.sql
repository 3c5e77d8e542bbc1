-- Write down that somebody agrees to a settlement's payout and begins it, as far as that is not written down yet.
-- $1 request number, $2 who approves, $3 reason
WITH approval AS (
    INSERT INTO admin_approvals (request_no, requested_by, approved_by, reason)
    SELECT request_no, requested_by, $2, $3 FROM admin_requests WHERE request_no = $1
    ON CONFLICT DO NOTHING
)
INSERT INTO admin_acts (request_no, done_by) VALUES ($1, $2)
ON CONFLICT DO NOTHING
