"""Lists of merchants as banks send them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any

import openpyxl

from tests.support.merchants import number

COLUMNS = ["merchant_no", "name", "address", "town", "category", "accepts"]


def row(n: int, **changes: str) -> list[str]:
    """Return a row that the small campaign takes."""
    good = dict(
        zip(COLUMNS, [number(n), f"第{n}超市", f"人民路{n}号", "古南街道", "超市", "payment_code"], strict=True)
    )
    return list((good | changes).values())


def csv_of(*rows: Sequence[str]) -> str:
    """Return a CSV file with its header."""
    return "".join(",".join(cells) + "\r\n" for cells in (COLUMNS, *rows))


def workbook_of(rows: Iterable[Sequence[Any]]) -> bytes:
    """Return an Excel workbook with these rows in its first sheet."""
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    for cells in rows:
        sheet.append(cells)
    stream = io.BytesIO()
    workbook.save(stream)
    return stream.getvalue()
