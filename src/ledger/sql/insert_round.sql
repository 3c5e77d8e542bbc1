-- Store a round. $1 campaign_no, $2 round_id, $3 opens_at, $4 closes_at, $5 round_limit
INSERT INTO rounds (campaign_no, round_id, opens_at, closes_at, round_limit)
VALUES ($1, $2, $3, $4, $5)
RETURNING round_no
