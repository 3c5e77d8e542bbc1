-- Every journal with its newest block; block_no is 0 and the rest NULL or 0 before the first.
SELECT j.journal_no, j.stock_no, j.campaign_no, coalesce('claims/' || s.stock_id, 'money/' || c.campaign_id, 'staff') AS name,
       coalesce(b.block_no, 0) AS block_no, b.hash, b.sealed_at,
       (SELECT coalesce(sum(row_count), 0)::bigint FROM sealed_blocks WHERE journal_no = j.journal_no) AS row_count
FROM journals j
LEFT JOIN stocks s USING (stock_no)
LEFT JOIN campaigns c ON c.campaign_no = j.campaign_no
LEFT JOIN LATERAL (
    SELECT block_no, hash, sealed_at FROM sealed_blocks WHERE journal_no = j.journal_no ORDER BY block_no DESC LIMIT 1
) AS b ON true
ORDER BY j.journal_no
