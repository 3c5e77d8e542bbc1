"""What the URLs of the stores say about how well they are guarded."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import parse_qs, urlsplit

PASSWORD_LENGTH_MIN = 16
_HIDDEN = "***"
_YES = "true"
_SSL_MODES = frozenset({"require", "verify-ca", "verify-full"})


def has_weak_password(url: str) -> bool:
    """Whether a URL names a password that could be guessed; one without a password names none."""
    parts = urlsplit(url)
    passwords = [parts.password or "", *parse_qs(parts.query).get("password", [])]
    return any(password and len(password) < PASSWORD_LENGTH_MIN for password in passwords)


def lacks_password(url: str) -> bool:
    """Whether a URL of the gate names another machine and no password."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return not parts.password and parts.scheme != "unix" and bool(host) and not _is_this_machine(host)


def is_in_the_clear(url: str) -> bool:
    """Whether what goes to the store can be read or changed on its way: another machine, and no TLS that checks it."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    host = parts.hostname or query.get("host", [""])[0]
    if parts.scheme == "unix" or not host or host.startswith("/") or _is_this_machine(host):
        return False
    if parts.scheme.startswith("redis"):
        is_checked = query.get("ssl_cert_reqs", ["required"])[0] == "required"
        return not (parts.scheme == "rediss" and is_checked and query.get("ssl_check_hostname", [_YES])[0] == _YES)
    return query.get("sslmode", [""])[0] != "verify-full"


def wants_tls(url: str) -> bool:
    """Whether a URL asks for TLS."""
    parts = urlsplit(url)
    return parts.scheme == "rediss" or parse_qs(parts.query).get("sslmode", [""])[0] in _SSL_MODES


def authority_file(url: str) -> str:
    """Return the file with the certificates of those whose signature is believed, as a URL names it; empty for none."""
    query = parse_qs(urlsplit(url).query)
    return next((query[name][0] for name in ("ssl_ca_certs", "sslrootcert") if name in query), "")


def is_nobody(url: str) -> bool:
    """Whether a URL of the gate names no user, so that the default one is taken, who may do everything."""
    return not urlsplit(url).username


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def without_password(url: str) -> str:
    """Return ``url`` with its password, if it has one, replaced by asterisks."""
    parts = urlsplit(url)
    if parts.password:
        url = url.replace(f":{parts.password}@", f":{_HIDDEN}@", 1)
    return re.sub(r"([?&]password=)[^&]*", rf"\g<1>{_HIDDEN}", url)
