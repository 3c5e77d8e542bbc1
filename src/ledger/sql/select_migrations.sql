-- Which migrations are applied.
SELECT name, checksum FROM schema_migrations ORDER BY name
