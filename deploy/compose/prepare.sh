#!/bin/sh
# Makes what compose.yaml needs and nobody has: passwords of the stores in .env, keys in secrets/.  What is there stays.
# usage: deploy/compose/prepare.sh ISSUER JWKS-FILE STAFF-JWKS-FILE    who issues tokens, the app's public keys, staff's
set -eu
[ $# -eq 3 ] || { sed -n '3s/^# //p' "$0" >&2; exit 2; }
cd "$(dirname "$0")/../.."
umask 077
mkdir -p secrets/passwords
for name in ticket voucher pepper client; do
    [ -e "secrets/$name.key" ] || openssl rand -hex 32 >"secrets/$name.key"
done
[ -e secrets/jwks.json ] || cp "$2" secrets/jwks.json
[ -e secrets/staff-jwks.json ] || cp "$3" secrets/staff-jwks.json
[ -e .env ] || echo "GRAB_JWT_ISSUER=$1" >.env
for name in DATABASE GATE_ADMIN DATABASE_API DATABASE_LEDGER DATABASE_STAFF GATE_API GATE_LEDGER GATE_STAFF; do
    grep -q "^GRAB_${name}_PASSWORD=" .env || echo "GRAB_${name}_PASSWORD=$(openssl rand -hex 24)" >>.env
done
# The parts' passwords once more, one a file, for `grab doctor --fix`.
for store in GATE DATABASE; do
    for part in API LEDGER STAFF; do
        file=$(echo "$store-$part" | tr '[:upper:]' '[:lower:]' | sed s/database/vault/)
        sed -n "s/^GRAB_${store}_${part}_PASSWORD=//p" .env >"secrets/passwords/$file.password"
    done
done
# The service's user reads them as files of its container: 10001 is its number there.
[ "$(id -u)" -ne 0 ] || chown -R 10001 secrets
