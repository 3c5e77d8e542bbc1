-- Store merchants as SUBMITTED, each with the first decision of its journal; returns the numbers of those stored.
-- A number that is taken already is left out.
-- $1 the merchants' facts as a JSON array of objects, $2 actor, $3 reason
WITH submitted AS (
    INSERT INTO merchants
        (merchant_no, name, address, town, category, accepts, photo_sha256, photo_type, submitted_by)
    SELECT f.merchant_no, f.name, f.address, f.town, f.category, f.accepts,
           decode(f.photo_sha256, 'hex'), f.photo_type, $2
    FROM jsonb_to_recordset($1::jsonb) AS f (
        merchant_no text, name text, address text, town text, category text, accepts text[],
        photo_sha256 text, photo_type text
    )
    ORDER BY f.merchant_no
    ON CONFLICT (merchant_no) DO NOTHING
    RETURNING merchant_no
)
INSERT INTO merchant_decisions (merchant_no, decision_no, from_state, to_state, actor, reason)
SELECT merchant_no, 1, NULL, 'SUBMITTED', $2, $3
FROM submitted
RETURNING merchant_no
