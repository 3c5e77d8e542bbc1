-- Claims that were recorded after their round was over for good, and the block of each.
SELECT 'claims/' || s.stock_id AS journal, c.claim_no, b.block_no
FROM claims c
JOIN stocks s USING (stock_no)
JOIN rounds r ON r.round_no = s.round_no
LEFT JOIN journals j ON j.stock_no = s.stock_no
LEFT JOIN sealed_rows b ON b.journal_no = j.journal_no AND b.row_no = c.claim_no
WHERE c.recorded_at > r.sealed_at
ORDER BY s.stock_no, c.claim_no
