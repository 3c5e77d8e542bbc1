-- A table with the columns of the claims and nothing else.
CREATE TABLE copy_without_keys (LIKE claims INCLUDING GENERATED)
