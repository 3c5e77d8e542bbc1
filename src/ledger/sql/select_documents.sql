-- Every campaign's document.
SELECT campaign_id, document::text AS document FROM campaigns ORDER BY campaign_no
