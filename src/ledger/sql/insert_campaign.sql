-- Store a campaign unless its id is taken. $1 campaign_id, $2 document (JSON text), $3 digest, $4 fund_fen
INSERT INTO campaigns (campaign_id, document, digest, fund_fen)
VALUES ($1, $2::jsonb, $3, $4)
ON CONFLICT (campaign_id) DO NOTHING
RETURNING campaign_no
