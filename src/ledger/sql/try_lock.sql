-- Take an advisory lock of this session if it is free. $1 class, $2 which one
SELECT pg_try_advisory_lock($1, $2)
