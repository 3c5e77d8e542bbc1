-- Whether a stock is paused, held until the transaction ends; and its instant.
-- $1 stock_id
SELECT paused, paused_until, now() AS now FROM stocks WHERE stock_id = $1 FOR NO KEY UPDATE
