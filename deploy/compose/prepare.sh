#!/bin/sh
# Makes what compose.yaml needs and nobody has: passwords of the stores in .env, keys in secrets/.  What is there stays.
# usage: deploy/compose/prepare.sh ISSUER JWKS-FILE    the issuer of the app's tokens, and its public keys
set -eu
[ $# -eq 2 ] || { sed -n '3s/^# //p' "$0" >&2; exit 2; }
cd "$(dirname "$0")/../.."
umask 077
mkdir -p secrets
for name in ticket voucher pepper client; do
    [ -e "secrets/$name.key" ] || openssl rand -hex 32 >"secrets/$name.key"
done
[ -e secrets/jwks.json ] || cp "$2" secrets/jwks.json
# The service's user reads them as files of its container: 10001 is its number there.
[ "$(id -u)" -ne 0 ] || chown -R 10001 secrets
[ -e .env ] || {
    echo "GRAB_JWT_ISSUER=$1"
    for name in DATABASE DATABASE_API DATABASE_LEDGER DATABASE_STAFF GATE_API GATE_LEDGER GATE_STAFF; do
        echo "GRAB_${name}_PASSWORD=$(openssl rand -hex 24)"
    done
} >.env
