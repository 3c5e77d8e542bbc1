-- Forget nonces of requests that their timestamps refuse by now; several processes may do so at once.
-- $1 the age from which on they are forgotten, $2 how many at most
DELETE FROM request_nonces
WHERE (client_id, nonce) IN (
    SELECT client_id, nonce FROM request_nonces
    WHERE seen_at < now() - $1::interval
    ORDER BY seen_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
