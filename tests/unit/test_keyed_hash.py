"""The keyed hash of many messages is the standard library's HMAC-SHA-256."""

from __future__ import annotations

import hmac

from hypothesis import given
from hypothesis import strategies as st

from grab_service.keyed_hash import KeyedHash


@given(key=st.binary(max_size=200), messages=st.lists(st.binary(max_size=300), max_size=4))
def test_it_is_hmac_sha_256(key: bytes, messages: list[bytes]) -> None:
    """For keys of any length, and one message leaves nothing behind for the next."""
    keyed = KeyedHash(key)
    for message in messages:
        assert keyed.digest(message) == hmac.digest(key, message, "sha256")
