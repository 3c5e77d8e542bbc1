"""From where a request comes: the block of addresses of whoever is outside the operator's own machines.

One household has a /64 of its own and changes addresses within it, many phones share one address behind a
carrier's NAT; so a block, not an address, is what is limited and looked at.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

_V4_BITS, _V6_BITS = 24, 64
_HOPS_MAX = 20  # a longer list of proxies is somebody's invention
_HASH_BYTES = 16
_ADDRESS_CHARACTERS_MAX = 64  # with a zone, which is a name of the machine's own
_READ_MAX = 4096  # addresses that are remembered: whoever floods comes from few, and so does all that comes by a proxy

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Proxies:
    """The machines whose ``X-Forwarded-For`` is believed.

    Attributes:
        networks: Their networks.
    """

    networks: tuple[_Network, ...]

    @classmethod
    def read(cls, text: str) -> Proxies:
        """Read networks that are separated by commas, ``10.0.0.0/8,::1/128``.

        Raises:
            ValueError: One is none.
        """
        return cls(tuple(ipaddress.ip_network(each.strip()) for each in text.split(",") if each.strip()))

    def block_of(self, peer: str, forwarded_for: Sequence[bytes]) -> str | None:
        """Return the block of the nearest machine that is not trusted; None if all are, or none can be read.

        Args:
            peer: Whoever holds the connection.
            forwarded_for: The ``X-Forwarded-For`` headers; each proxy has put whom it saw at the end.
        """
        hops = [peer]
        if self._trusts(_read(peer)):
            told = b",".join(forwarded_for).decode("latin-1").split(",")[-_HOPS_MAX:]
            hops += reversed([hop.strip() for hop in told])
        for hop in hops:
            address = _read(hop)
            if address is None:
                return None
            if not self._trusts(address):
                return _block(address)
        return None

    def _trusts(self, address: _Address | None) -> bool:
        return address is not None and any(
            address.version == network.version and address in network for network in self.networks
        )


def hash_of_block(pepper: bytes, block: str) -> bytes:
    """Return the keyed hash that stands for a block in the vault."""
    return hmac.digest(pepper, f"address:{block}".encode(), "sha256")[:_HASH_BYTES]


def block_of_request(
    proxies: Proxies, client: Sequence[Any] | None, headers: Iterable[tuple[bytes, bytes]]
) -> str | None:
    """Return the block that a request comes from, by its ASGI scope's ``client`` and ``headers``."""
    if not client:
        return None
    return proxies.block_of(str(client[0]), [value for name, value in headers if name == b"x-forwarded-for"])


def _read(text: str) -> _Address | None:
    return None if len(text) > _ADDRESS_CHARACTERS_MAX else _known(text)


@lru_cache(maxsize=_READ_MAX)
def _known(text: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@lru_cache(maxsize=_READ_MAX)
def _block(address: _Address) -> str:
    bits = _V4_BITS if isinstance(address, ipaddress.IPv4Address) else _V6_BITS
    return str(ipaddress.ip_network((address, bits), strict=False))
