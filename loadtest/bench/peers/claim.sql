-- Take one voucher if any is left, and record its owner; a second claim of the same user violates the key.
-- $1 stock_id, $2 user_id
WITH taken AS (
    UPDATE stocks SET remaining = remaining - 1 WHERE stock_id = $1 AND remaining > 0 RETURNING remaining
)
INSERT INTO orders (stock_id, user_id) SELECT $1, $2 FROM taken RETURNING 1
