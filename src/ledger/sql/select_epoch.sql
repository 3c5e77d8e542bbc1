-- The epoch of a stock's round. $1 stock_no
SELECT r.epoch FROM stocks s JOIN rounds r USING (round_no) WHERE s.stock_no = $1
