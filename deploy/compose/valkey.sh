#!/bin/sh
# Starts the gate's server with its users in $USERS, which `grab doctor --fix` adds the parts' to and the server keeps.
# The administrator whom that command connects as has the password of GRAB_GATE_ADMIN_PASSWORD; nobody comes without a name.
set -eu
: "${CONF:=/etc/grab}" "${USERS:=/data/users.acl}"
umask 077
[ "${#GRAB_GATE_ADMIN_PASSWORD}" -ge 16 ] || { echo "the administrator's password has fewer than 16 characters" >&2; exit 1; }
touch "$USERS"
{
    echo "user default off"
    echo "user grab-admin on #$(printf %s "$GRAB_GATE_ADMIN_PASSWORD" | sha256sum | cut -d' ' -f1) ~* &* +@all"
    grep -Ev '^user (default|grab-admin) ' "$USERS" || true
} >"$USERS.new"
mv "$USERS.new" "$USERS"
exec valkey-server "$CONF/valkey.conf" --aclfile "$USERS" --protected-mode no "$@"
