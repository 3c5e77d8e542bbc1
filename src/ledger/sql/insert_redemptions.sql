-- Use vouchers: answers, redemptions, events and money in one statement, or nothing at all; refusals are answers too.  A
-- version, an order or a request that another was faster to take raises; a merchant that is not approved any more leaves
-- no row.  The numbers of the requests that have their answer now.
-- One element a request: $1 caller, $2 out_request_no, $3 digest of the body, $4 verdict, $5 answer; null unless it is
-- done: $6 redemption_id; $7 stock_no, $8 claim_no, $9 version, $10 merchant_no, $11 order_no, $12 order amount in fen,
-- $13 channel, $14 attempt; $15 the instant.  For all: $16 how many unknown codes within a day lock a caller at a merchant.
WITH asked AS (
    SELECT * FROM unnest(
        $1::text[], $2::text[], $3::bytea[], $4::text[], $5::text[], $6::text[], $7::integer[], $8::integer[],
        $9::integer[], $10::text[], $11::text[], $12::bigint[], $13::text[], $14::integer[], $15::timestamptz[]
    ) AS a (caller, out_request_no, body_digest, verdict, answer, redemption_id, stock_no, claim_no, version,
            merchant_no, order_no, order_amount_fen, channel, attempt, at)
), facts AS (
    SELECT a.*, s.discount_fen, s.threshold_fen, r.campaign_no
    FROM asked a JOIN stocks s USING (stock_no) JOIN rounds r USING (round_no) JOIN merchants m USING (merchant_no)
    WHERE a.verdict = 'DONE' AND m.state = 'APPROVED'
), request AS (
    INSERT INTO requests (caller, out_request_no, body_digest, verdict, answer)
    SELECT caller, out_request_no, body_digest, verdict, answer FROM facts
    UNION ALL
    SELECT caller, out_request_no, body_digest, verdict, answer FROM asked WHERE verdict <> 'DONE'
    RETURNING caller, out_request_no
), unknown AS (
    -- In one order, as below.
    SELECT caller, merchant_no, count(*)::integer AS counted, max(at) AS at
    FROM asked WHERE verdict = 'RESOURCE_NOT_EXISTS' GROUP BY caller, merchant_no ORDER BY caller, merchant_no
), missed AS (
    INSERT INTO unknown_codes AS known (caller, merchant_no, counted, since, locked_at)
    SELECT caller, merchant_no, counted, at, CASE WHEN counted >= $16::integer THEN at END FROM unknown
    ON CONFLICT (caller, merchant_no) DO UPDATE SET
        counted = CASE WHEN known.since > excluded.since - interval '1 day' THEN known.counted ELSE 0 END + excluded.counted,
        since = CASE WHEN known.since > excluded.since - interval '1 day' THEN known.since ELSE excluded.since END,
        locked_at = coalesce(known.locked_at, CASE WHEN excluded.counted
            + CASE WHEN known.since > excluded.since - interval '1 day' THEN known.counted ELSE 0 END
            >= $16::integer THEN excluded.since END)
), redemption AS (
    INSERT INTO redemptions (redemption_id, stock_no, claim_no, discount_fen, threshold_fen, merchant_no, order_no,
                             order_amount_fen, channel, attempt, caller, out_request_no)
    SELECT redemption_id, stock_no, claim_no, discount_fen, threshold_fen, merchant_no, order_no,
           order_amount_fen, channel, attempt, caller, out_request_no
    FROM facts
    RETURNING redemption_no, redemption_id
), account AS (
    -- In one order, so that no two transactions wait for each other.
    INSERT INTO accounts (campaign_no, kind, merchant_no)
    SELECT DISTINCT campaign_no, 'PAYABLE', merchant_no FROM facts ORDER BY campaign_no, merchant_no
    ON CONFLICT DO NOTHING
    RETURNING campaign_no, kind, holder
), balance AS (
    INSERT INTO balances (campaign_no, kind, holder)
    SELECT campaign_no, kind, holder FROM account
), event AS (
    INSERT INTO events (kind, campaign_no, stock_no, face_fen, units, amount_fen, claim_no, version, from_state, to_state,
                        redemption_no, merchant_no, at)
    SELECT 'REDEEM', f.campaign_no, f.stock_no, f.discount_fen, 1, f.discount_fen, f.claim_no, f.version, 'ISSUED', 'USED',
           x.redemption_no, f.merchant_no, f.at
    FROM facts f JOIN redemption x USING (redemption_id)
    RETURNING event_no, kind, campaign_no, amount_fen, stock_holder, merchant_holder
), moved AS (
    INSERT INTO transfers (event_no, event_kind, campaign_no, amount_fen, stock_holder, merchant_holder, debit_kind, credit_kind)
    SELECT e.event_no, e.kind, e.campaign_no, e.amount_fen, e.stock_holder, e.merchant_holder, p.debit_kind, p.credit_kind
    FROM event e JOIN posting_rules p ON p.event_kind = e.kind
)
SELECT caller, out_request_no FROM request
