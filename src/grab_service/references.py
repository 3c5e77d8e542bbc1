"""References that give nothing away: of a user, and of a voucher to its owner.

Neither store ever holds a user's id or a voucher's code.  Both are derived with keyed hashes:
a bare hash of a phone number could be reversed by trying them all.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass

USER_REF_VERSION = "1"  # names the pepper, so that it can be changed one day
USER_REF_LENGTH = 23

# Crockford's base 32 leaves out I, L, O and U: codes are read aloud and typed by hand.
_CROCKFORD = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_FROM_RFC4648 = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", _CROCKFORD)
_DIGIT_OF = {chr(letter): digit for digit, letter in enumerate(_CROCKFORD)}
_CODE_BYTES = 10  # 80 bits, sixteen letters
_CODE_LETTERS = 17  # and the check letter
_AS_MEANT = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None})


@dataclass(frozen=True, slots=True)
class UserRefs:
    """Turns user ids into the references that the stores and logs keep.

    Attributes:
        pepper: The secret of the keyed hash, at least 32 bytes.
    """

    pepper: bytes

    def of(self, sub: str) -> str:
        """Return the 23-character reference of the user whose token says ``sub``."""
        digest = hmac.digest(self.pepper, sub.encode(), "sha256")[:16]
        return USER_REF_VERSION + base64.urlsafe_b64encode(digest)[:22].decode()


@dataclass(frozen=True, slots=True)
class VoucherCodes:
    """Derives the code of a voucher from its stock and number, the same at every replay.

    Attributes:
        key: The secret of the keyed hash, at least 32 bytes.
    """

    key: bytes

    def code(self, stock_id: str, claim_no: int) -> str:
        """Return the code: 16 letters of Crockford's base 32 (80 bits) and a check letter."""
        digest = hmac.digest(self.key, f"voucher:{stock_id}:{claim_no}".encode(), "sha256")
        letters = base64.b32encode(digest[:_CODE_BYTES]).translate(_FROM_RFC4648).decode()
        return letters + check_letter(letters)

    def code_hash(self, stock_id: str, claim_no: int) -> bytes:
        """Return the SHA-256 of the code, which is all that the ledger keeps of it."""
        return hashlib.sha256(self.code(stock_id, claim_no).encode()).digest()


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
    total = 0
    for position, letter in enumerate(reversed(letters)):
        digit = _DIGIT_OF[letter]
        if position % 2 == 0:
            digit *= 2
            digit = digit // 32 + digit % 32
        total += digit
    return chr(_CROCKFORD[-total % 32])
