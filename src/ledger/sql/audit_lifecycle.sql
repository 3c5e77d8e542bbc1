-- Steps of vouchers' lives that do not follow from the step before, lead where none leads, or are a hold or its end that no
-- two persons agreed on.
SELECT s.stock_id, e.claim_no, e.version, e.kind, e.from_state
FROM (
    SELECT event_no, stock_no, claim_no, version, kind, from_state, to_state,
           coalesce(lag(version) OVER life, 0)         AS version_before,
           coalesce(lag(to_state) OVER life, 'ISSUED') AS state_before
    FROM events
    WHERE version IS NOT NULL
    WINDOW life AS (PARTITION BY stock_no, claim_no ORDER BY version)
) AS e
JOIN stocks s USING (stock_no)
WHERE e.version <> e.version_before + 1
   OR e.from_state <> e.state_before
   OR (e.kind, e.from_state, e.to_state) NOT IN (
       ('REDEEM', 'ISSUED', 'USED'), ('REVERSE', 'USED', 'ISSUED'), ('EXPIRE', 'ISSUED', 'EXPIRED'),
       ('REFUND', 'USED', 'REFUNDED'), ('REFUND', 'REFUNDED', 'REFUNDED'),
       ('CLAW_BACK', 'USED', 'REFUNDED'), ('CLAW_BACK', 'REFUNDED', 'REFUNDED'),
       ('HOLD', 'ISSUED', 'HELD'), ('RELEASE', 'HELD', 'ISSUED'), ('VOID', 'HELD', 'VOID'), ('EXPIRE', 'HELD', 'EXPIRED')
   )
   OR (e.kind IN ('HOLD', 'RELEASE', 'VOID') AND NOT EXISTS (
       SELECT FROM (SELECT h.event_no, h.request_no, 'hold' AS action FROM holds h
                    UNION ALL SELECT d.event_no, d.request_no, lower(d.kind) FROM hold_ends d) AS x
       JOIN admin_acts t USING (request_no)
       JOIN admin_approvals a USING (request_no)
       JOIN admin_requests q USING (request_no)
       WHERE x.event_no = e.event_no AND q.action = x.action AND q.action = lower(e.kind) AND a.approved_by <> q.requested_by
   ))
