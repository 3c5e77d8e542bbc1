-- Revoke one key.
-- $1 key id
UPDATE client_keys SET revoked_at = now() WHERE key_id = $1 AND revoked_at IS NULL RETURNING key_id
