-- What staff asked for, approved, began and did, and the policy, in the order of their blocks, those in no block last;
-- every column.  A row's number tells its kind: four to each request and deed, 0 is the policy.
-- $1 journal_no, $2 whether only those in no block, $3 how many at most, $4 numbered above what
SELECT s.block_no, d.row_no, NULL AS user_ref, d.fields
FROM (
    SELECT 0::bigint AS row_no,
           ARRAY['policy', two_persons::text, (extract(epoch FROM set_at) * 1000000)::bigint::text] AS fields
    FROM vault_policy
    UNION ALL
    SELECT request_no * 4, ARRAY['request', request_no::text, action, target, reason, requested_by,
                                 (extract(epoch FROM requested_at) * 1000000)::bigint::text]
    FROM admin_requests
    UNION ALL
    SELECT request_no * 4 + 1, ARRAY['approval', request_no::text, requested_by, approved_by, reason,
                                     (extract(epoch FROM approved_at) * 1000000)::bigint::text]
    FROM admin_approvals
    UNION ALL
    SELECT request_no * 4 + 2, ARRAY['act', request_no::text, done_by, (extract(epoch FROM begun_at) * 1000000)::bigint::text]
    FROM admin_acts
    UNION ALL
    SELECT deed_no * 4 + 3, ARRAY['deed', deed_no::text, action, target, subject, reason, before::text, after::text,
                                  request_no::text, (extract(epoch FROM at) * 1000000)::bigint::text]
    FROM admin_deeds
) AS d
LEFT JOIN sealed_rows s ON s.journal_no = $1 AND s.row_no = d.row_no
WHERE d.row_no > $4 AND (NOT $2 OR s.block_no IS NULL)
ORDER BY s.block_no, d.row_no
LIMIT $3
