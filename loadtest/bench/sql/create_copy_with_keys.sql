-- A table with the keys, checks, indexes and the foreign key of the claims.
CREATE TABLE copy_with_keys (
    LIKE claims INCLUDING ALL,
    FOREIGN KEY (stock_no, claim_no, round_no, limit_no) REFERENCES vouchers (stock_no, claim_no, round_no, limit_no)
)
