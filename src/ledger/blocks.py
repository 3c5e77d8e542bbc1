"""What a block is made of: a line for each row, the hash over them, and the tree that makes a proof short.

``docs/audit.md`` says the same in words and ``tools/verify_certificate.py`` does it again without this
package: whoever changes one changes what was published, so nothing here ever changes.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

NO_HASH = bytes(32)  # stands for the block before the first

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_NULL = "\\N"
_LEAF, _NODE = b"\x00", b"\x01"


def line_of(fields: Iterable[str | None]) -> str:
    r"""Write a row as PostgreSQL's COPY does: fields separated by tabs, ``\N`` for NULL."""
    return "\t".join(_NULL if field is None else field.translate(_ESCAPES) for field in fields)


def opening_of(user_ref: str, stock_id: str, claim_no: int) -> str:
    """Return what opens a claim's line of the public list: for its owner alone, and silent on his other claims."""
    return hmac.digest(user_ref.encode(), f"grab-opening\t{stock_id}\t{claim_no}".encode(), "sha256").hex()


def entry_hash(stock_id: str, claim_no: int, stream_ms: int, opening: str) -> str:
    """Return what stands for the owner in the line of a claim."""
    return hashlib.sha256(f"grab-entry\t{stock_id}\t{claim_no}\t{stream_ms}\t{opening}".encode()).hexdigest()


def microseconds(instant: datetime) -> int:
    """Return an aware instant in Unix microseconds, as exact as PostgreSQL has it."""
    return (instant - _EPOCH) // timedelta(microseconds=1)


def block_hash(journal: str, block_no: int, sealed_at: datetime, previous: bytes, lines: Sequence[str]) -> bytes:
    """Return the SHA-256 of a block: its head line, then the line of each row, each with a line feed behind it."""
    head = f"grab-block\t{journal}\t{block_no}\t{len(lines)}\t{microseconds(sealed_at)}\t{previous.hex()}"
    return hashlib.sha256("".join(f"{line}\n" for line in (head, *lines)).encode()).digest()


def merkle_root(lines: Sequence[str]) -> bytes:
    """Return the root over the lines; that of no line is the hash of nothing."""
    return _levels(lines)[-1][0] if lines else hashlib.sha256().digest()


def merkle_path(lines: Sequence[str], index: int) -> list[tuple[str, str]]:
    """Return the neighbours from a line up to the root: on which side each stands, and its hash."""
    path = []
    for level in _levels(lines)[:-1]:
        neighbour = index ^ 1
        if neighbour < len(level):
            path.append(("left" if neighbour < index else "right", level[neighbour].hex()))
        index //= 2
    return path


def _levels(lines: Sequence[str]) -> list[list[bytes]]:
    """Return the tree, leaves first; the last of an odd level has no neighbour and moves up as it is."""
    levels = [[hashlib.sha256(_LEAF + line.encode()).digest() for line in lines]]
    while len(levels[-1]) > 1:
        below = levels[-1]
        pairs = [below[at : at + 2] for at in range(0, len(below), 2)]
        levels.append([hashlib.sha256(_NODE + b"".join(pair)).digest() if len(pair) > 1 else pair[0] for pair in pairs])
    return levels
