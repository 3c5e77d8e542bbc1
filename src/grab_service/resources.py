"""Files that the service carries: the gate's library and users, the campaigns, the pages.

A checkout keeps them where readers look for them; the built wheel carries the same files as
package data, so that it works without a checkout.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent
_CHECKOUT = _PACKAGE.parents[1]

_DEFAULT_CAMPAIGN = "qijiang-2023"


def library_source() -> str:
    """Return the text of the gate's function library."""
    return (_directory("lua") / "grab.lua").read_text(encoding="utf-8")


def gate_users() -> str:
    """Return the rules of the gate's users, as the server's configuration has them, without passwords."""
    return (_directory("deploy") / "valkey-users.conf").read_text(encoding="utf-8")


def campaign_path(name: str) -> Path:
    """Return the file of the campaign ``name``, which comes with the service."""
    return _directory("campaigns") / f"{name}.toml"


def default_campaign() -> Path:
    """Return the file of the campaign that a rehearsal runs when none is named."""
    return campaign_path(_DEFAULT_CAMPAIGN)


def page(name: str) -> Path:
    """Return a file that browsers load, by its path below ``pages``."""
    return _PACKAGE / "pages" / name


def _directory(name: str) -> Path:
    packaged = _PACKAGE / f"_{name}"
    return packaged if packaged.is_dir() else _CHECKOUT / name
