"""Reads the lists that banks send, of merchants or of payments: CSV in UTF-8 or GB18030, or an Excel workbook.

Only the form is judged here; what the facts must be is the vault's side.  A file is read within
bounds, and every row comes back with the line on which a person finds it.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openpyxl

COLUMNS = ("merchant_no", "name", "address", "town", "category", "accepts")
ROWS_MAX = 100_000
FILE_BYTES_MAX = 33_554_432
UNPACKED_BYTES_MAX = 268_435_456  # of a workbook, which is a packed archive
_COLUMNS_MAX = 16
_ZIP = b"PK\x03\x04"
_OLD_EXCEL = b"\xd0\xcf\x11\xe0"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_BETWEEN_WAYS = re.compile(r"[|,;，；、/\s]+")


class ListUnreadable(Exception):
    """The file as a whole is no such list; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class ListRow:
    """One row.

    Attributes:
        line: Where it begins in the file, counted from 1; in a workbook, the row's number.
        texts: The text of each column.
        faults: Column and reason of what could not be read.
    """

    line: int
    texts: Mapping[str, str]
    faults: Sequence[tuple[str, str]] = field(default=())

    @property
    def accepts(self) -> list[str]:
        """The ways of payment that its last column lists."""
        return [way for way in _BETWEEN_WAYS.split(self.texts["accepts"]) if way]


def read_list(file: Path, columns: Sequence[str] = COLUMNS) -> list[ListRow]:
    """Read a list; its columns may stand in any order.

    Raises:
        ListUnreadable: It is too large, no such file, or its columns are not the ones needed.
        OSError: It cannot be read.
    """
    if file.stat().st_size > FILE_BYTES_MAX:
        raise ListUnreadable(f"the file has more than {FILE_BYTES_MAX:,} bytes: split it")
    return read_content(file.read_bytes(), columns)


def read_content(content: bytes, columns: Sequence[str] = COLUMNS) -> list[ListRow]:
    """Read a list from the content of its file.

    Raises:
        ListUnreadable: It is too large, or its columns are not the ones needed.
    """
    if len(content) > FILE_BYTES_MAX:
        raise ListUnreadable(f"the file has more than {FILE_BYTES_MAX:,} bytes: split it")
    if content.startswith(_OLD_EXCEL):
        raise ListUnreadable("this is a workbook of an old Excel: save it as .xlsx or as CSV")
    if content.startswith(_UTF_16):
        raise ListUnreadable("this is UTF-16 text: save it as CSV UTF-8")
    rows = _workbook_rows(content) if content.startswith(_ZIP) else _csv_rows(content)
    return _with_columns(rows, columns)


def _with_columns(rows: Iterable[_Cells], columns: Sequence[str]) -> list[ListRow]:
    filled = (row for row in rows if row.damage or any(cell.strip() for cell in row.cells))
    header = next(filled, None)
    if header is None or header.damage:
        raise ListUnreadable(f"the file is empty; its first line must be {','.join(columns)}")
    names = _column_names(header, columns)
    bounded = itertools.islice(filled, ROWS_MAX + 1)
    read = [_named(row, names, columns) for row in bounded]
    if len(read) > ROWS_MAX:
        raise ListUnreadable(f"the file has more than {ROWS_MAX:,} rows: split it")
    return read


def _column_names(header: _Cells, columns: Sequence[str]) -> list[str]:
    names = [cell.strip().lower() for cell in header.cells]
    while names and not names[-1]:
        names.pop()
    missing = [name for name in columns if name not in names]
    strange = [repr(name) for name in names if name not in columns or names.count(name) > 1]
    if missing or strange:
        complaints = [
            f"lacks {', '.join(missing)}" if missing else "",
            f"has {', '.join(dict.fromkeys(strange))}, which it must not or only once" if strange else "",
        ]
        told = " and ".join(filter(None, complaints))
        raise ListUnreadable(f"line {header.line} {told}; the columns are {','.join(columns)}")
    return names


def _named(row: _Cells, names: Sequence[str], columns: Sequence[str]) -> ListRow:
    if row.damage:
        return ListRow(row.line, dict.fromkeys(columns, ""), (("row", row.damage),))
    texts = dict.fromkeys(columns, "") | dict(zip(names, row.cells, strict=False))
    faults = [(names[place], reason) for place, reason in row.faults.items() if place < len(names)]
    surplus = [cell for cell in row.cells[len(names) :] if cell.strip()]
    if surplus:
        faults.append(("row", f"has {len(surplus)} more cells than there are columns: is a comma not in quotes?"))
    return ListRow(row.line, texts, tuple(faults))


@dataclass(frozen=True, slots=True)
class _Cells:
    """A row before its columns are known; faults by the place of the cell, or what is wrong with it as a whole."""

    line: int
    cells: Sequence[str]
    faults: Mapping[int, str] = field(default_factory=dict)
    damage: str = ""


def _csv_rows(content: bytes) -> Iterator[_Cells]:
    reader = csv.reader(io.StringIO(_decoded(content), newline=""), strict=True)
    line = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # Where a quote is not closed, no later line can be told apart.
            yield _Cells(line, (), damage=f"is not CSV: {error}; nothing after it was read")
            return
        yield _Cells(line, cells)
        line = reader.line_num + 1


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as not_utf_8:
        try:
            return content.decode("gb18030")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, max(error.start, not_utf_8.start)) + 1
            raise ListUnreadable(f"line {line} is neither UTF-8 nor GB18030: save the file as CSV UTF-8") from error


def _workbook_rows(content: bytes) -> Iterator[_Cells]:
    try:
        _refuse_bomb(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about styles and extensions, which nobody looks at here
            yield from _sheet_rows(content)
    except ListUnreadable:
        raise
    except Exception as error:  # there is no end to what a damaged workbook makes its reader raise
        raise ListUnreadable(f"the workbook cannot be read: {error}") from error


def _refuse_bomb(content: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > UNPACKED_BYTES_MAX:
        raise ListUnreadable(f"the workbook unpacks to more than {UNPACKED_BYTES_MAX:,} bytes")


def _sheet_rows(content: bytes) -> Iterator[_Cells]:
    workbook = openpyxl.load_workbook(io.BytesIO(content), read_only=True, keep_links=False)
    try:
        sheet = workbook.worksheets[0]
        sheet.reset_dimensions()  # programs write wrong ones, and rows would be lost
        for line, row in enumerate(sheet.iter_rows(max_row=1_048_576, max_col=_COLUMNS_MAX), start=1):
            cells = [_cell_text(cell.value) for cell in row]
            yield _Cells(
                line, cells, {place: reason for place, cell in enumerate(row) if (reason := _cell_fault(cell))}
            )
    finally:
        workbook.close()


def _cell_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _cell_fault(cell: Any) -> str | None:
    match cell.data_type:
        case "f":
            return "is a formula: put its value there"
        case "e":
            return f"is an error of the spreadsheet: {cell.value}"
        case _:
            return None
