-- Numbers of the stocks that some worker records. $1 class of the stocks' locks
SELECT objid::bigint::integer AS stock_no FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 2 AND classid = $1::integer::oid AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
