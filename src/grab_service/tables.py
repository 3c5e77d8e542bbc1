"""Tables as CSV and as Excel workbooks whose bytes depend on nothing but what is in them.

A text is never a formula, whatever a merchant's order number begins with.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal

import openpyxl
from openpyxl.cell import WriteOnlyCell

Cell = str | int | Decimal | None

_BOM = b"\xef\xbb\xbf"  # by which Excel knows UTF-8
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_MODIFIED = re.compile(rb"(<dcterms:modified[^>]*>)[^<]*")
_EPOCH_OF_ZIP = (1980, 1, 1, 0, 0, 0)
_WIDTH_MAX = 40


def yuan(fen: int) -> Decimal:
    """Return an amount in yuan, to the fen."""
    return Decimal(fen).scaleb(-2)


def csv_of(rows: Iterable[Sequence[Cell]]) -> bytes:
    """Return a table as CSV in UTF-8 with a byte order mark; a text that could be a formula gets an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerows([_plain(cell) for cell in row] for row in rows)
    return _BOM + text.getvalue().encode()


def workbook_of(title: str, rows: Sequence[Sequence[Cell]], instant: datetime) -> bytes:
    """Return a table as a workbook of one sheet.

    Args:
        title: Of the sheet.
        rows: The table; its first row has the names of the columns.
        instant: When the file says that it was made; without it the same table would never be the same bytes.
    """
    book = openpyxl.Workbook(write_only=True)
    book.properties.creator = "grab-service"
    book.properties.created = instant.replace(tzinfo=None, microsecond=0)
    sheet = book.create_sheet(title)
    sheet.freeze_panes = "A2"
    for number, name in enumerate(rows[0], start=1):
        letter = openpyxl.utils.get_column_letter(number)
        sheet.column_dimensions[letter].width = min(_WIDTH_MAX, 4 + 2 * len(str(name)))
    for row in rows:
        sheet.append([_cell_of(sheet, cell) for cell in row])
    made = io.BytesIO()
    book.save(made)
    return _fixed(made.getvalue(), instant)


def _cell_of(sheet: object, cell: Cell) -> object:
    if isinstance(cell, str):
        text = WriteOnlyCell(sheet, _CONTROLS.sub("\ufffd", cell))
        text.data_type = "s"
        return text
    if isinstance(cell, Decimal):
        amount = WriteOnlyCell(sheet, cell)
        amount.number_format = "#,##0.00"
        return amount
    return cell


def _plain(cell: Cell) -> Cell:
    if not isinstance(cell, str):
        return cell
    text = _CONTROLS.sub("\ufffd", cell)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _fixed(archive: bytes, instant: datetime) -> bytes:
    """Write an archive again with no time in it but the given one, and not packed: packers differ in their bytes."""
    stamp = instant.strftime("%Y-%m-%dT%H:%M:%SZ").encode()
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as target:
        for name in sorted(source.namelist()):
            content = source.read(name)
            if name == "docProps/core.xml":
                content = _MODIFIED.sub(rb"\g<1>" + stamp, content)
            target.writestr(zipfile.ZipInfo(name, _EPOCH_OF_ZIP), content)
    return out.getvalue()
