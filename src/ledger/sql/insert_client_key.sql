-- Give an active client its next key and return its id; nothing is returned if there is no such client.
-- $1 client id, $2 algorithm, $3 public key or NULL, $4 how long it is valid, $5 who adds it, $6 the deed or NULL
INSERT INTO client_keys (key_id, client_id, key_no, algorithm, public_key, valid_from, valid_until, added_by, deed_no)
SELECT client_id || '.' || next.key_no, client_id, next.key_no, $2, $3, now(), now() + $4::interval, $5, $6::bigint
FROM clients
CROSS JOIN LATERAL (
    SELECT coalesce(max(k.key_no), 0) + 1 AS key_no FROM client_keys k WHERE k.client_id = clients.client_id
) AS next
WHERE client_id = $1 AND state = 'ACTIVE'
RETURNING key_id
