-- How many claims each stock has.
SELECT stock_no, count(*) AS claimed FROM claims GROUP BY stock_no
