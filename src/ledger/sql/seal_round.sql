-- Let no further claim of a round be recorded; waits for those that are being recorded. $1 round_no
UPDATE rounds SET sealed_at = clock_timestamp() WHERE round_no = $1 AND sealed_at IS NULL
