-- Steps of vouchers' lives that do not follow from the step before, or lead where none leads.
SELECT s.stock_id, e.claim_no, e.version, e.kind, e.from_state
FROM (
    SELECT stock_no, claim_no, version, kind, from_state, to_state,
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
       ('CLAW_BACK', 'USED', 'REFUNDED'), ('CLAW_BACK', 'REFUNDED', 'REFUNDED')
   )
