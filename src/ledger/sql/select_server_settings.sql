-- The server's own settings. $1 their names
SELECT name, setting FROM pg_settings WHERE name = ANY ($1::text[])
