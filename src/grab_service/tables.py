"""Tables as CSV and as Excel workbooks whose bytes depend on nothing but what is in them.

A text is never a formula, whatever a merchant's order number begins with.  The workbooks are written
here, part by part as ISO/IEC 29500 has them: no library's version and no packer changes a byte, and the
tens of thousands of rows of a settlement take a second.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from xml.sax.saxutils import escape

Cell = str | int | Decimal | None

_BOM = b"\xef\xbb\xbf"  # by which Excel knows UTF-8
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f\ufffe\uffff]")
_EPOCH_OF_ZIP = (1980, 1, 1, 0, 0, 0)
_WIDTH_MAX = 40
_LETTERS = 26

_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_DOCUMENT = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"

_CONTENT_TYPES = (
    f'{_XML}<Types xmlns="{_PACKAGE}/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPE}.sheet.main+xml"/>'
    f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_TYPE}.worksheet+xml"/>'
    f'<Override PartName="/xl/styles.xml" ContentType="{_TYPE}.styles+xml"/>'
    '<Override PartName="/docProps/core.xml" '
    'ContentType="application/vnd.openxmlformats-package.core-properties+xml"/></Types>'
)
_PARTS = (
    f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_DOCUMENT}/officeDocument" Target="xl/workbook.xml"/>'
    f'<Relationship Id="rId2" Type="{_PACKAGE}/relationships/metadata/core-properties" Target="docProps/core.xml"/>'
    "</Relationships>"
)
_PARTS_OF_BOOK = (
    f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_DOCUMENT}/worksheet" Target="worksheets/sheet1.xml"/>'
    f'<Relationship Id="rId2" Type="{_DOCUMENT}/styles" Target="styles.xml"/></Relationships>'
)
# Style 1 is an amount: number format 4 is #,##0.00 everywhere.
_STYLES = (
    f'{_XML}<styleSheet xmlns="{_MAIN}"><fonts count="1"><font><sz val="11"/><name val="Calibri"/></font></fonts>'
    '<fills count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill>'
    '</fills><borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>'
    '<cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs>'
    '<cellXfs count="2"><xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/>'
    '<xf numFmtId="4" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/></cellXfs>'
    '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>'
)


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
    parts = {
        "[Content_Types].xml": _CONTENT_TYPES,
        "_rels/.rels": _PARTS,
        "docProps/core.xml": _properties(instant),
        "xl/workbook.xml": _book(title),
        "xl/_rels/workbook.xml.rels": _PARTS_OF_BOOK,
        "xl/styles.xml": _STYLES,
        "xl/worksheets/sheet1.xml": _sheet(rows),
    }
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as target:
        for name, content in parts.items():
            target.writestr(zipfile.ZipInfo(name, _EPOCH_OF_ZIP), content.encode())
    return archive.getvalue()


def _properties(instant: datetime) -> str:
    at = f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return (
        f'{_XML}<cp:coreProperties xmlns:cp="{_PACKAGE}/metadata/core-properties" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:dcterms="http://purl.org/dc/terms/" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><dc:creator>grab-service</dc:creator>'
        f'<dcterms:created xsi:type="dcterms:W3CDTF">{at}</dcterms:created>'
        f'<dcterms:modified xsi:type="dcterms:W3CDTF">{at}</dcterms:modified></cp:coreProperties>'
    )


def _book(title: str) -> str:
    return (
        f'{_XML}<workbook xmlns="{_MAIN}" xmlns:r="{_DOCUMENT}"><sheets>'
        f'<sheet name="{escape(title)}" sheetId="1" r:id="rId1"/></sheets></workbook>'
    )


def _sheet(rows: Sequence[Sequence[Cell]]) -> str:
    columns = "".join(
        f'<col min="{number}" max="{number}" width="{min(_WIDTH_MAX, 4 + 2 * len(str(name)))}" customWidth="1"/>'
        for number, name in enumerate(rows[0], start=1)
    )
    letters = [_letters(number) for number in range(len(rows[0]))]
    filled = "".join(
        f'<row r="{number}">{"".join(map(_cell, letters, [number] * len(row), row))}</row>'
        for number, row in enumerate(rows, start=1)
    )
    return (
        f'{_XML}<worksheet xmlns="{_MAIN}"><sheetViews><sheetView workbookViewId="0">'
        '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/></sheetView></sheetViews>'
        f"<cols>{columns}</cols><sheetData>{filled}</sheetData></worksheet>"
    )


def _letters(number: int) -> str:
    """Return the name of a column, counted from 0: A, B … Z, AA."""
    rest, last = divmod(number, _LETTERS)
    return (_letters(rest - 1) if rest else "") + chr(ord("A") + last)


def _cell(column: str, row: int, cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, str):
        text = escape(_CONTROLS.sub("\ufffd", cell))
        return f'<c r="{column}{row}" t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'
    style = ' s="1"' if isinstance(cell, Decimal) else ""
    return f'<c r="{column}{row}"{style}><v>{cell}</v></c>'


def _plain(cell: Cell) -> Cell:
    if not isinstance(cell, str):
        return cell
    text = _CONTROLS.sub("\ufffd", cell)
    return f"'{text}" if text.startswith(_FORMULA) else text
