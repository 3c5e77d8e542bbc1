#!/bin/sh
# Makes the vault's logins after `grab migrate --roles`, and sets their passwords anew; harmless to repeat.
# PGHOST, PGUSER, PGPASSWORD and PGDATABASE name the owner's connection; psql reads them.
set -eu
psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 \
    --set=api="$GRAB_DATABASE_API_PASSWORD" --set=ledger="$GRAB_DATABASE_LEDGER_PASSWORD" \
    --set=staff="$GRAB_DATABASE_STAFF_PASSWORD" <<'END'
SELECT format('CREATE ROLE %I LOGIN IN ROLE grab_service', name)
FROM unnest(ARRAY['grab_api', 'grab_ledger', 'grab_staff']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE grab_api PASSWORD :'api';
ALTER ROLE grab_ledger PASSWORD :'ledger';
ALTER ROLE grab_staff PASSWORD :'staff';
END
