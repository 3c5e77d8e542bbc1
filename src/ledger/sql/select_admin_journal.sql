-- Who asked for, approved and began what, the latest first.
-- $1 how many steps
SELECT request_no, step, action, target, subject, reason, at FROM admin_journal ORDER BY at DESC, request_no DESC, step LIMIT $1
