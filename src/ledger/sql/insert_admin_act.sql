-- Begin the act that an approval permits; nothing is returned if it permits another one, none any more, or did already.
-- $1 request number, $2 action, $3 target, $4 who acts, $5 how long an approval is good
INSERT INTO admin_acts (request_no, done_by)
SELECT request_no, $4
FROM admin_approvals JOIN admin_requests USING (request_no)
WHERE request_no = $1 AND action = $2 AND target = $3 AND approved_at > now() - $5::interval
ON CONFLICT DO NOTHING
RETURNING request_no
