-- Write down who accepts the differences that a comparison has found, and why. $1 comparison_no, $2 who, $3 reason
INSERT INTO settlement_acceptances (comparison_no, accepted_by, reason) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
