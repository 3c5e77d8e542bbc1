-- Remember a nonce; nothing is returned if it was seen before, or if its key is no longer trusted.
-- $1 key id, $2 nonce
INSERT INTO request_nonces (client_id, nonce)
SELECT client_id, $2
FROM client_keys k JOIN clients c USING (client_id)
WHERE key_id = $1 AND c.revoked_at IS NULL AND k.revoked_at IS NULL AND now() < k.valid_until
ON CONFLICT DO NOTHING
RETURNING nonce
