-- Stocks whose pause has ended by itself.
SELECT stock_id FROM stocks WHERE paused_until <= clock_timestamp() ORDER BY stock_id
