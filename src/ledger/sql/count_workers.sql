-- How many workers are connected. $1 class of the workers' shared lock
SELECT count(*) FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 2 AND classid = $1::integer::oid AND objid = 0 AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
