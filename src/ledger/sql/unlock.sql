-- Give an advisory lock of this session back. $1 class, $2 which one
SELECT pg_advisory_unlock($1, $2)
