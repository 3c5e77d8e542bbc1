-- Note each block of addresses from which more users than expected have taken tickets on one day, with vouchers that
-- they hold; how many signals are new.  $1 users that are still expected
WITH crowd AS (
    -- A user has a reference under each pepper that is in use.
    SELECT used_on, address_hash, max(users) AS users
    FROM (
        SELECT used_on, address_hash, count(*) AS users
        FROM address_uses
        WHERE used_on >= (now() AT TIME ZONE 'Asia/Shanghai')::date - 1
        GROUP BY used_on, address_hash, left(user_ref, 1)
    ) AS of_version
    GROUP BY used_on, address_hash
    HAVING max(users) > $1::integer
    LIMIT 1000
)
INSERT INTO signals (kind, subject, begins_at, vouchers, figures)
SELECT 'SHARED_ADDRESS', encode(w.address_hash, 'hex'), w.used_on::timestamp AT TIME ZONE 'Asia/Shanghai',
       coalesce(h.vouchers, '{}'), jsonb_build_object('users', w.users, 'expected_max', $1::integer)
FROM crowd w
CROSS JOIN LATERAL (
    SELECT array_agg(v.voucher ORDER BY v.voucher) AS vouchers
    FROM (
        SELECT s.stock_id || ':' || c.claim_no AS voucher
        FROM address_uses u
        JOIN claims c USING (user_ref)
        JOIN stocks s USING (stock_no)
        WHERE u.used_on = w.used_on AND u.address_hash = w.address_hash
        LIMIT 100
    ) AS v
) AS h
ON CONFLICT (kind, subject, begins_at) DO NOTHING
RETURNING signal_no
