"""Reads what the bank or UnionPay counted, to be compared with a settlement."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

from grab_service.merchant_list import ListRow, ListUnreadable, read_content
from ledger.comparison import Key

COLUMNS = ("merchant_no", "order_no", "kind", "amount")
_KINDS = {
    "REDEEM": "REDEEM",
    "核销": "REDEEM",
    "REVERSE": "REVERSE",
    "冲正": "REVERSE",
    "REFUND": "REFUND",
    "退款": "REFUND",
    "CLAW_BACK": "CLAW_BACK",
    "结算后退款": "CLAW_BACK",
}
_FEN_MAX = 10**15
_TOLD_MAX = 20


def payments_of(content: bytes) -> list[tuple[Key, int]]:
    """Return the lines of a list with their amounts in fen, without sign: the kind says which way the money goes.

    Raises:
        ListUnreadable: It is no such list, or a line of it cannot be understood; says which, each with its reason.
    """
    rows = read_content(content, COLUMNS)
    faults = [f"line {row.line}, {column}: {reason}" for row in rows for column, reason in _faults(row)]
    if faults:
        more = [f"and {len(faults) - _TOLD_MAX} more"] if len(faults) > _TOLD_MAX else []
        raise ListUnreadable("\n".join([*faults[:_TOLD_MAX], *more]))
    return [(_key(row), abs(_fen(row.texts["amount"]) or 0)) for row in rows]


def _faults(row: ListRow) -> Sequence[tuple[str, str]]:
    if row.faults:
        return row.faults
    found = [(column, "is empty") for column in COLUMNS if not row.texts[column].strip()]
    if not found and row.texts["kind"].strip() not in _KINDS:
        found.append(("kind", f"must be one of {', '.join(_KINDS)}"))
    if not found and _fen(row.texts["amount"]) is None:
        found.append(("amount", "must be an amount in yuan with at most two decimals"))
    return found


def _key(row: ListRow) -> Key:
    texts = {column: text.strip() for column, text in row.texts.items()}
    return Key.of(texts["merchant_no"], texts["order_no"], _KINDS[texts["kind"]])


def _fen(text: str) -> int | None:
    try:
        fen = Decimal(text.strip().replace(",", "")) * 100
    except InvalidOperation:
        return None
    return int(fen) if fen.is_finite() and abs(fen) <= _FEN_MAX and fen == fen.to_integral_value() else None
