-- Store a campaign unless its id is taken.
-- $1 campaign_id, $2 document (JSON text), $3 digest, $4 fund_fen, $5 SHA-256 of its file or NULL, $6 the deed or NULL,
-- $7 version of its pepper, $8 the pepper's mark or NULL
INSERT INTO campaigns (campaign_id, document, digest, fund_fen, file_sha256, deed_no, pepper_version, pepper_mark)
VALUES ($1, $2::jsonb, $3, $4, $5, $6, $7, $8)
ON CONFLICT (campaign_id) DO NOTHING
RETURNING campaign_no
