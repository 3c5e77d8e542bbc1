-- Let a client's other keys end soon.
-- $1 client id, $2 the key that stays, $3 how long the others are still good
UPDATE client_keys SET valid_until = now() + $3::interval
WHERE client_id = $1 AND key_id <> $2 AND revoked_at IS NULL AND valid_until > now() + $3::interval
