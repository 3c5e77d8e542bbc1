-- The digest of a stored campaign. $1 campaign_id
SELECT digest FROM campaigns WHERE campaign_id = $1
