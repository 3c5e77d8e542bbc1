"""From where a request comes: what is believed of a proxy, and what of everybody else."""

from __future__ import annotations

import pytest

from grab_service.addresses import Proxies, hash_of_block

PROXIES = Proxies.read("127.0.0.0/8, 10.0.0.0/8,::1/128")


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "block"),
    [
        ("198.51.100.7", [], "198.51.100.0/24"),
        ("198.51.100.7", [b"203.0.113.9"], "198.51.100.0/24"),
        ("127.0.0.1", [b"203.0.113.9"], "203.0.113.0/24"),
        ("127.0.0.1", [b"192.0.2.1, 203.0.113.9"], "203.0.113.0/24"),
        ("127.0.0.1", [b"192.0.2.1", b"203.0.113.9, 10.1.2.3"], "203.0.113.0/24"),
        ("10.0.0.1", [b"2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::/64"),
        ("10.0.0.1", [b"::ffff:203.0.113.9"], "203.0.113.0/24"),
        ("127.0.0.1", [], None),
        ("::1", [b"10.1.2.3"], None),
        ("127.0.0.1", [b"somewhere"], None),
        ("127.0.0.1", [b"192.0.2.1, somewhere"], None),
        ("127.0.0.1", [b"\xff"], None),
        ("", [b"203.0.113.9"], None),
    ],
    ids=[
        "direct",
        "a stranger's word is no word",
        "behind a proxy",
        "what the sender invents stands further left",
        "two proxies",
        "a household of IPv6",
        "IPv4 in IPv6",
        "the machine itself",
        "all are trusted",
        "no address",
        "what is before no address is not believed",
        "no text",
        "a socket of the machine",
    ],
)
def test_the_nearest_machine_that_is_not_trusted_is_the_sender(
    peer: str, forwarded_for: list[bytes], block: str | None
) -> None:
    """The rightmost address that no proxy of ours has, cut to its block."""
    assert PROXIES.block_of(peer, forwarded_for) == block


def test_a_list_of_proxies_without_end_is_cut() -> None:
    """Only the last few are looked at."""
    assert PROXIES.block_of("127.0.0.1", [b"203.0.113.9" + b",10.0.0.1" * 10_000]) is None


def test_a_block_is_kept_as_a_keyed_hash() -> None:
    """Neither address nor block can be read from what is stored, or tried out without the pepper."""
    assert hash_of_block(b"a" * 32, "203.0.113.0/24") != hash_of_block(b"b" * 32, "203.0.113.0/24")
    assert len(hash_of_block(b"a" * 32, "203.0.113.0/24")) == 16
