-- Revoke a client with all its keys.
-- $1 client id
UPDATE clients SET revoked_at = now() WHERE client_id = $1 AND revoked_at IS NULL RETURNING client_id
