-- Add a client; nothing is returned if there is one of this id.
-- $1 client id, $2 name, $3 scopes, $4 merchants' numbers, $5 who adds it
INSERT INTO clients (client_id, name, scopes, merchants, added_by)
VALUES ($1, $2, $3::text[], $4::text[], $5)
ON CONFLICT DO NOTHING
RETURNING client_id
