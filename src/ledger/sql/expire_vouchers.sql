-- Expire the next vouchers of a stock that were claimed and never used, held ones too, and return their money to the pool.
-- A voucher whose next version another transaction takes first is left to it; the version is in two keys, and either may meet it
-- first, so the conflict names none.
-- $1 stock_no, $2 claim_no to begin after, $3 how many at most, $4 the instant
WITH due AS (
    SELECT c.stock_no, c.claim_no, coalesce(l.version, 0) + 1 AS version, coalesce(l.to_state, 'ISSUED') AS state,
           s.discount_fen, r.campaign_no
    FROM claims c
    JOIN stocks s USING (stock_no)
    JOIN rounds r ON r.round_no = s.round_no
    LEFT JOIN LATERAL (
        SELECT e.version, e.to_state FROM events e
        WHERE e.stock_no = c.stock_no AND e.claim_no = c.claim_no
        ORDER BY e.version DESC LIMIT 1
    ) AS l ON true
    WHERE c.stock_no = $1 AND c.claim_no > $2 AND s.available_until <= $4 AND coalesce(l.to_state, 'ISSUED') IN ('ISSUED', 'HELD')
    ORDER BY c.claim_no
    LIMIT $3
), event AS (
    INSERT INTO events (kind, campaign_no, stock_no, face_fen, units, amount_fen, claim_no, version, from_state, to_state, at)
    SELECT 'EXPIRE', campaign_no, stock_no, discount_fen, 1, discount_fen, claim_no, version, state, 'EXPIRED', $4
    FROM due
    ON CONFLICT DO NOTHING
    RETURNING event_no, kind, campaign_no, amount_fen, stock_holder, merchant_holder
), moved AS (
    INSERT INTO transfers (event_no, event_kind, campaign_no, amount_fen, stock_holder, merchant_holder, debit_kind, credit_kind)
    SELECT e.event_no, e.kind, e.campaign_no, e.amount_fen, e.stock_holder, e.merchant_holder, p.debit_kind, p.credit_kind
    FROM event e JOIN posting_rules p ON p.event_kind = e.kind
)
SELECT (SELECT count(*) FROM event) AS expired, (SELECT max(claim_no) FROM due) AS last_no
