#!/bin/sh
# Lets the roles of API, ledger workers and staff log in, which `grab migrate --roles` has made, and sets their passwords
# anew; harmless to repeat.  PGHOST, PGUSER, PGPASSWORD and PGDATABASE name the owner's connection; psql reads them.
set -eu
psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 \
    --set=api="$GRAB_DATABASE_API_PASSWORD" --set=ledger="$GRAB_DATABASE_LEDGER_PASSWORD" \
    --set=staff="$GRAB_DATABASE_STAFF_PASSWORD" <<'END'
ALTER ROLE grab_api LOGIN PASSWORD :'api';
ALTER ROLE grab_ledger LOGIN PASSWORD :'ledger';
ALTER ROLE grab_staff LOGIN PASSWORD :'staff';
END
