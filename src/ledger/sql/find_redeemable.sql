-- All that decides about using vouchers, in one look; one row for each that is asked for, in their order.
-- One element a request: $1 hash of the voucher code, $2 merchant_no, $3 order_no, $4 channel, $5 caller, $6 out_request_no.
-- $7 the instant, null for the server's clock
SELECT now.at, q.body_digest, q.verdict, q.answer,
       v.stock_no, v.claim_no, s.stock_id, s.class, s.discount_fen, s.threshold_fen, s.available_until,
       c.campaign_id, m.state AS merchant_state,
       o.owner IS NOT NULL                 AS is_claimed,
       coalesce(l.to_state, 'ISSUED')      AS state,
       coalesce(l.version, 0) + 1          AS next_version,
       jsonb_path_exists(
           c.document, '$.classes[*] ? (@.class_code == $class).merchant_categories[*] ? (@ == $category)',
           jsonb_build_object('class', s.class, 'category', m.category)
       )                                   AS is_of_category,
       a.channel = ANY (m.accepts) AND c.document #> '{merchants,accepts}' ? a.channel AS takes_channel,
       coalesce(d.attempt, 0) + 1          AS next_attempt,
       d.attempt IS NOT NULL AND NOT d.is_reversed AS order_has_voucher,
       b.has_money,
       u.locked_at IS NOT NULL             AS is_locked
FROM (SELECT coalesce($7::timestamptz, clock_timestamp()) AS at) AS now
CROSS JOIN unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
    WITH ORDINALITY AS a (code_hash, merchant_no, order_no, channel, caller, out_request_no, place)
LEFT JOIN requests q ON q.caller = a.caller AND q.out_request_no = a.out_request_no
LEFT JOIN unknown_codes u ON u.caller = a.caller AND u.merchant_no = a.merchant_no
LEFT JOIN merchants m ON m.merchant_no = a.merchant_no
LEFT JOIN vouchers v ON v.code_hash = a.code_hash
LEFT JOIN stocks s ON s.stock_no = v.stock_no
LEFT JOIN rounds r ON r.round_no = s.round_no
LEFT JOIN campaigns c ON c.campaign_no = r.campaign_no
LEFT JOIN LATERAL (
    SELECT cl.user_ref AS owner FROM claims cl WHERE cl.stock_no = v.stock_no AND cl.claim_no = v.claim_no
) AS o ON true
LEFT JOIN LATERAL (
    SELECT e.version, e.to_state FROM events e
    WHERE e.stock_no = v.stock_no AND e.claim_no = v.claim_no
    ORDER BY e.version DESC LIMIT 1
) AS l ON true
LEFT JOIN LATERAL (
    SELECT x.attempt, EXISTS (SELECT FROM reversals y WHERE y.redemption_no = x.redemption_no) AS is_reversed
    FROM redemptions x
    WHERE x.merchant_no = a.merchant_no AND x.order_no = a.order_no
    ORDER BY x.attempt DESC LIMIT 1
) AS d ON true
LEFT JOIN LATERAL (
    SELECT EXISTS (SELECT FROM events e WHERE e.stock_no = v.stock_no AND e.kind = 'MINT') AS has_money
) AS b ON true
ORDER BY a.place
