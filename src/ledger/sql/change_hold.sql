-- Take the next step of vouchers: hold them, release them or void them.  Event, agreed act and money in one statement, or
-- nothing at all.  Left out is a voucher that the request does not name, that is not in the state to begin with, or whose
-- version another takes first; the version is in two keys, so the conflict names none.
-- $1 stock_ids, $2 claim_nos, $3 HOLD, RELEASE or VOID, $4 state before, $5 state after, $6 number of the request that two
-- persons agreed on, $7 the instant, null for the server's clock
WITH due AS (
    SELECT c.stock_no, c.claim_no, coalesce(l.version, 0) + 1 AS version, s.discount_fen, r.campaign_no
    FROM unnest($1::text[], $2::integer[]) AS a (stock_id, claim_no)
    JOIN stocks s USING (stock_id)
    JOIN rounds r ON r.round_no = s.round_no
    JOIN claims c ON c.stock_no = s.stock_no AND c.claim_no = a.claim_no
    LEFT JOIN LATERAL (
        SELECT e.version, e.to_state FROM events e
        WHERE e.stock_no = c.stock_no AND e.claim_no = c.claim_no
        ORDER BY e.version DESC LIMIT 1
    ) AS l ON true
    JOIN admin_requests q ON q.request_no = $6 AND a.stock_id || ':' || a.claim_no = ANY (string_to_array(q.target, ' '))
    WHERE coalesce(l.to_state, 'ISSUED') = $4
      AND EXISTS (SELECT FROM events m WHERE m.stock_no = s.stock_no AND m.kind = 'MINT')
), event AS (
    INSERT INTO events (kind, campaign_no, stock_no, face_fen, units, amount_fen, claim_no, version, from_state, to_state, at)
    SELECT $3, campaign_no, stock_no, discount_fen, 1, CASE $3 WHEN 'VOID' THEN discount_fen ELSE 0 END, claim_no, version,
           $4, $5, coalesce($7::timestamptz, clock_timestamp())
    FROM due
    ORDER BY stock_no, claim_no
    ON CONFLICT DO NOTHING
    RETURNING *
), held AS (
    INSERT INTO holds (event_no, request_no) SELECT event_no, $6 FROM event WHERE kind = 'HOLD'
), ended AS (
    INSERT INTO hold_ends (event_no, kind, request_no) SELECT event_no, kind, $6 FROM event WHERE kind <> 'HOLD'
), moved AS (
    INSERT INTO transfers (event_no, event_kind, campaign_no, amount_fen, stock_holder, merchant_holder, debit_kind, credit_kind)
    SELECT e.event_no, e.kind, e.campaign_no, e.amount_fen, e.stock_holder, e.merchant_holder, p.debit_kind, p.credit_kind
    FROM event e JOIN posting_rules p ON p.event_kind = e.kind
    WHERE e.amount_fen > 0
)
SELECT s.stock_id, e.claim_no FROM event e JOIN stocks s USING (stock_no) ORDER BY s.stock_id, e.claim_no
