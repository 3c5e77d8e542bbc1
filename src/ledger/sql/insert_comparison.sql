-- Write down what a comparison of a settlement with another side's list has found; its number.
-- $1 settlement_no, $2 who, $3 digest of the list, $4 agreeing, $5 only ours, $6 their fen, $7 only theirs, $8 their fen,
-- $9 of another amount, $10 ours less theirs in fen
INSERT INTO settlement_comparisons (settlement_no, compared_by, list_digest, agreeing, only_ours, only_ours_fen,
                                    only_theirs, only_theirs_fen, amount_differs, amount_differs_fen)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
RETURNING comparison_no
