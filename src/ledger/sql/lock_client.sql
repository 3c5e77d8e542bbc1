-- Hold a client, so that two rotations come one after the other.
-- $1 client id
SELECT client_id FROM clients WHERE client_id = $1 FOR NO KEY UPDATE
