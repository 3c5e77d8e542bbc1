-- Take an advisory lock of this session beside others who share it. $1 class, $2 which one
SELECT pg_advisory_lock_shared($1, $2)
