-- Note who took tickets from which block of addresses today. $1 hashes of the blocks, $2 references of the users
INSERT INTO address_uses (used_on, address_hash, user_ref)
SELECT DISTINCT (now() AT TIME ZONE 'Asia/Shanghai')::date, a.address_hash, a.user_ref
FROM unnest($1::bytea[], $2::text[]) AS a (address_hash, user_ref)
ORDER BY 2, 3
ON CONFLICT DO NOTHING
