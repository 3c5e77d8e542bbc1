-- How many claims of a stock are recorded. $1 stock_no
SELECT count(*) FROM claims WHERE stock_no = $1
