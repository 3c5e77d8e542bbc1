-- Every hold there was, the latest first: who asked for it, who agreed, and what became of the voucher. $1 how many at most
SELECT s.stock_id, e.claim_no, e.at AS held_at, q.request_no, q.requested_by, a.approved_by, q.reason,
       n.at AS ended_at, n.kind AS ended_by, nq.request_no AS end_request_no, nq.reason AS end_reason
FROM holds h
JOIN events e USING (event_no)
JOIN stocks s USING (stock_no)
JOIN admin_requests q USING (request_no)
JOIN admin_approvals a USING (request_no)
LEFT JOIN events n ON n.stock_no = e.stock_no AND n.claim_no = e.claim_no AND n.version = e.version + 1
LEFT JOIN hold_ends d ON d.event_no = n.event_no
LEFT JOIN admin_requests nq ON nq.request_no = d.request_no
ORDER BY e.event_no DESC
LIMIT $1
