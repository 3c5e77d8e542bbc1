-- A page of merchants in the order of their numbers.
-- $1 state, $2 town, $3 categories, $4 a part of the name or address, each null for any;
-- $5 the number after which the page begins, empty for the first page, $6 rows at most
SELECT merchant_no, name, address, town, category, accepts, state, photo_sha256, photo_type, submitted_by, submitted_at
FROM merchants
WHERE merchant_no > $5
  AND ($1::text IS NULL OR state = $1)
  AND ($2::text IS NULL OR town = $2)
  AND ($3::text[] IS NULL OR category = ANY ($3))
  -- strpos and not LIKE: nothing in the text is a wildcard.
  AND ($4::text IS NULL OR strpos(lower(name), lower($4)) > 0 OR strpos(lower(address), lower($4)) > 0)
ORDER BY merchant_no
LIMIT $6
