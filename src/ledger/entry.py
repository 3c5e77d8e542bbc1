"""Reads one entry of a stream of claims: the contract between the gate and the vault (``lua/README.md``)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

_VERSION = "1"
_STREAM_ID = re.compile(r"([0-9]{1,15})-([0-9]{1,10})", re.ASCII)
_USER_REF = re.compile(r"[0-9A-Za-z_-]{23}", re.ASCII)
_NUMBER = re.compile(r"[1-9][0-9]{0,9}", re.ASCII)
_NUMBERS_ALWAYS = ("epoch", "claim_no")
_NUMBERS = (*_NUMBERS_ALWAYS, "nth")
_INTEGER_MAX = 2**31 - 1  # of the vault's columns
_QUOTE_MAX = 40  # characters of a strange value that a reason quotes


class Entry(NamedTuple):
    """A claim on its way to the vault.

    Attributes:
        stream_id: Its id in the stream.
        stream_ms: The first part: the instant of the claim, Unix milliseconds by the gate's clock.
        stream_seq: The second part.
        epoch: The round's epoch in which it was made.
        claim_no: The voucher's number.
        user_ref: The user's reference.
        nth: Which voucher of the user in the round; None unless the round limits them.
    """

    stream_id: str
    stream_ms: int
    stream_seq: int
    epoch: int
    claim_no: int
    user_ref: str
    nth: int | None


@dataclass(frozen=True, slots=True)
class Malformed:
    """An entry that the gate has not written like this; ``reason`` says what is wrong with it."""

    reason: str


def decode(stream_id: str, fields: Mapping[str, str]) -> Entry | Malformed:
    """Read an entry; fields that are not known here are allowed, missing or strange ones are not."""
    parts = _STREAM_ID.fullmatch(stream_id)
    if parts is None or int(parts[2]) > _INTEGER_MAX:
        return Malformed(f"the stream id is {_quote(stream_id)}, which is out of bounds")
    if fields.get("v") != _VERSION:
        return Malformed(f"the version is {_quote(fields.get('v'))}, not {_VERSION!r}")
    for name in _NUMBERS if "nth" in fields else _NUMBERS_ALWAYS:
        text = fields.get(name)
        if text is None or not _NUMBER.fullmatch(text) or int(text) > _INTEGER_MAX:
            return Malformed(f"the field {name} is {_quote(text)}, not a number from 1 to {_INTEGER_MAX}")
    user_ref = fields.get("user_ref", "")
    if not _USER_REF.fullmatch(user_ref):
        return Malformed(f"the user_ref has {len(user_ref)} characters or strange ones")
    nth = fields.get("nth")
    return Entry(
        stream_id,
        int(parts[1]),
        int(parts[2]),
        int(fields["epoch"]),
        int(fields["claim_no"]),
        user_ref,
        None if nth is None else int(nth),
    )


def _quote(text: str | None) -> str:
    return repr(text if text is None else text[:_QUOTE_MAX])


def digest(fields: Mapping[str, str]) -> bytes:
    """Return the SHA-256 of an entry's fields, which tells entries apart whose stream id recurs after a restore."""
    return hashlib.sha256(json.dumps(sorted(fields.items())).encode()).digest()
