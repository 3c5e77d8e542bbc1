-- Wait for an advisory lock of this session. $1 class, $2 which one
SELECT pg_advisory_lock($1, $2)
