-- Forget who took tickets from where, after some days; a bounded number at once. $1 days that are kept
DELETE FROM address_uses
WHERE ctid IN (
    SELECT ctid FROM address_uses WHERE used_on < (now() AT TIME ZONE 'Asia/Shanghai')::date - $1::integer LIMIT 10000
)
