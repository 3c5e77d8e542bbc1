-- Who asked for, approved, began and did what, the latest first.
-- $1 how many steps
SELECT request_no, step, action, target, subject, reason, at, before::text, after::text
FROM admin_journal ORDER BY at DESC, request_no DESC NULLS LAST, step LIMIT $1
