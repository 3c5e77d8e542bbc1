-- Every entry that was refused.
SELECT s.stock_id, d.stream_id, d.reason, d.entry::text AS entry
FROM dead_letters d
JOIN stocks s USING (stock_no)
