-- The latest comparison of a settlement with another side's list, and who accepted what it has found. $1 settlement_no
SELECT c.comparison_no, c.compared_at, c.compared_by, c.agreeing, c.differences, c.only_ours, c.only_ours_fen,
       c.only_theirs, c.only_theirs_fen, c.amount_differs, c.amount_differs_fen, a.accepted_by, a.reason AS accepted_for
FROM settlement_comparisons c LEFT JOIN settlement_acceptances a USING (comparison_no)
WHERE c.settlement_no = $1
ORDER BY c.comparison_no DESC
LIMIT 1
