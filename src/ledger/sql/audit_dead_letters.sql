-- Entries that the vault refused for another reason than that their epoch was over.
SELECT s.stock_id, d.stream_id, d.reason, d.detail
FROM dead_letters d JOIN stocks s USING (stock_no)
WHERE d.reason <> 'FENCED'
ORDER BY d.dead_letter_no
