-- Roles ($1), whether they can log in, and what is kept of their passwords.  For superusers only.
SELECT rolname AS name, rolcanlogin AS can_log_in, rolpassword AS verifier
FROM pg_authid
WHERE rolname = ANY ($1::text[])
