-- Keep whether a stock is paused, so that a recovery keeps it so. $1 stock_id, $2 paused
UPDATE stocks SET paused = $2 WHERE stock_id = $1
