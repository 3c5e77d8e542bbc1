-- Every key with what its client may do, whether it is trusted or not.
SELECT client_id, c.name, c.state, c.scopes, c.merchants, key_id, k.algorithm, k.public_key, k.valid_from, k.valid_until,
       coalesce(k.revoked_at, c.revoked_at) AS revoked_at
FROM clients c JOIN client_keys k USING (client_id)
ORDER BY client_id, k.key_no
