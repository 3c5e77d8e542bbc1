-- Pause or resume a stock, so that a recovery keeps it so.
-- $1 stock_id, $2 whether it is paused, $3 until when or NULL, $4 the deed
UPDATE stocks SET paused = $2, paused_until = $3, pause_deed_no = $4 WHERE stock_id = $1
