-- Which pepper each campaign began with, and whether a voucher of it is still valid.
SELECT c.campaign_id, c.pepper_version AS version, c.pepper_mark AS mark,
       coalesce(bool_or(s.available_until > clock_timestamp()), false) AS is_needed
FROM campaigns c
LEFT JOIN rounds r USING (campaign_no)
LEFT JOIN stocks s USING (round_no)
GROUP BY c.campaign_no
ORDER BY c.campaign_no
