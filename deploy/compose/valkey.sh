#!/bin/sh
# Starts the gate's server with the users of valkey-users.conf: puts the hash of each one's password in its place.
# Passwords come from the environment (GRAB_GATE_API_PASSWORD and so on), files are in $CONF.
set -eu
: "${CONF:=/etc/grab}"
umask 077
users=$(mktemp)
cp "$CONF/valkey-users.conf" "$users"
put() {
    [ "${#2}" -ge 16 ] || { echo "the password of $1 has fewer than 16 characters" >&2; exit 1; }
    sed -i "s/SHA256-OF-$1 /$(printf %s "$2" | sha256sum | cut -d' ' -f1) /" "$users"
}
put GRAB-API "$GRAB_GATE_API_PASSWORD"
put GRAB-LEDGER "$GRAB_GATE_LEDGER_PASSWORD"
put GRAB-STAFF "$GRAB_GATE_STAFF_PASSWORD"
exec valkey-server "$CONF/valkey.conf" --include "$users" --protected-mode no "$@"
