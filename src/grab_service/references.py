"""References that give nothing away: of a user, and of a voucher to its owner.

Neither store ever holds a user's id or a voucher's code.  Both are derived with keyed hashes:
a bare hash of a phone number could be reversed by trying them all.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from dataclasses import dataclass, field

from grab_service.keyed_hash import KeyedHash

USER_REF_LENGTH = 23

# Crockford's base 32 leaves out I, L, O and U: codes are read aloud and typed by hand.
_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_DIGIT_OF = {letter: digit for digit, letter in enumerate(_LETTERS)}
_CODE_BYTES = 10  # 80 bits, sixteen letters
_CODE_LETTERS = 17  # and the check letter
_DERIVED_MAX = 100_000  # of a stock, some 7 MB
_DERIVED_AT_ONCE = 256  # in half a millisecond
_AS_MEANT = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None})


@dataclass(frozen=True, slots=True)
class UserRefs:
    """Turns user ids into the references that the stores and logs keep.

    Attributes:
        pepper: The secret of the keyed hash, at least 32 bytes.
        version: Of the pepper, 1 to 9; every reference begins with it.
        others: The same for peppers that campaigns of other times began with.
    """

    pepper: bytes = field(repr=False)
    version: int = 1
    others: tuple[UserRefs, ...] = ()

    def of(self, sub: str) -> str:
        """Return the 23-character reference of the user whose token says ``sub``."""
        digest = hmac.digest(self.pepper, sub.encode(), "sha256")[:16]
        return f"{self.version}{base64.urlsafe_b64encode(digest)[:22].decode()}"

    def all_of(self, sub: str) -> tuple[str, ...]:
        """Return the user's reference and those under the other peppers."""
        return (self.of(sub), *(each.of(sub) for each in self.others))

    def under(self, version: int) -> UserRefs | None:
        """Return what makes references with this version of the pepper; None if it is not here."""
        return next((each for each in (self, *self.others) if each.version == version), None)

    @property
    def mark(self) -> bytes:
        """What tells this pepper from others and says nothing of it."""
        return hmac.digest(self.pepper, b"mark of a pepper", "sha256")[:8]


class VoucherCodes:
    """Derives the code of a voucher from its stock and number, the same at every replay.

    Args:
        key: The secret of the keyed hash, at least 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._keyed = KeyedHash(key)

    def code(self, stock_id: str, claim_no: int) -> str:
        """Return the code: 16 letters of Crockford's base 32 (80 bits) and a check letter."""
        digest = self._keyed.digest(f"voucher:{stock_id}:{claim_no}".encode())
        bits = int.from_bytes(digest[:_CODE_BYTES])
        # Written out: a loop costs twice as much, while the winner waits.
        a, b, c, d = bits >> 70, bits >> 60 & 1023, bits >> 50 & 1023, bits >> 40 & 1023
        e, f, g, h = bits >> 30 & 1023, bits >> 20 & 1023, bits >> 10 & 1023, bits & 1023
        of, added = _PAIRS, _ADDED
        check = -(added[a] + added[b] + added[c] + added[d] + added[e] + added[f] + added[g] + added[h]) % 32
        return f"{of[a]}{of[b]}{of[c]}{of[d]}{of[e]}{of[f]}{of[g]}{of[h]}{_LETTERS[check]}"

    def code_hash(self, stock_id: str, claim_no: int) -> bytes:
        """Return the SHA-256 of the code, which is all that the ledger keeps of it."""
        return hashlib.sha256(self.code(stock_id, claim_no).encode()).digest()


class StockCodes:
    """The codes of one stock's vouchers; those derived before the opening cost a winner nothing.

    Args:
        codes: Derives them.
        stock_id: The stock.
    """

    def __init__(self, codes: VoucherCodes, stock_id: str) -> None:
        self._codes = codes
        self._stock_id = stock_id
        self._derived: list[str] = []

    def code(self, claim_no: int) -> str:
        """Return the code of a voucher by its number, 1 and up."""
        if 0 < claim_no <= len(self._derived):
            return self._derived[claim_no - 1]
        return self._codes.code(self._stock_id, claim_no)

    async def derive(self, quantity: int) -> None:
        """Derive the codes of so many vouchers, of more than 100,000 the first; other work goes on meanwhile."""
        derived: list[str] = []
        for claim_no in range(1, min(quantity, _DERIVED_MAX) + 1):
            derived.append(self._codes.code(self._stock_id, claim_no))
            if claim_no % _DERIVED_AT_ONCE == 0:
                await asyncio.sleep(0)
        self._derived = derived


def hash_of_code(written: str) -> bytes | None:
    """Return the SHA-256 of a voucher code as somebody wrote it, None if it can be no code.

    Small letters, hyphens and blanks do no harm, nor does an O for a zero or an I or L for a one.
    """
    code = written.upper().translate(_AS_MEANT)
    if len(code) != _CODE_LETTERS or not _DIGIT_OF.keys() >= set(code) or check_letter(code[:-1]) != code[-1]:
        return None
    return hashlib.sha256(code.encode()).digest()


def check_letter(letters: str) -> str:
    """Return the check letter of ``letters`` (Luhn's algorithm, modulo 32).

    It finds every single wrong letter and nearly every swap of two neighbours.
    """
    digits = [_DIGIT_OF[letter] for letter in reversed(letters)]
    return _LETTERS[-sum(_doubled(digit) if place % 2 == 0 else digit for place, digit in enumerate(digits)) % 32]


def _doubled(digit: int) -> int:
    """Return what a digit at every other place, the last one first, adds to the total."""
    return digit * 2 // 32 + digit * 2 % 32


# Two letters at a time, and what they add to the check letter's total.
_PAIRS = [left + right for left in _LETTERS for right in _LETTERS]
_ADDED = [left + _doubled(right) for left in range(32) for right in range(32)]
