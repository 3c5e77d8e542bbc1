"""Tables as files: the same table is the same bytes, and no text becomes a formula."""

from __future__ import annotations

import csv
import io
import zipfile
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grab_service import tables
from grab_service.tables import Cell, csv_of, workbook_of, yuan

AT = datetime(2024, 2, 4, 1, 2, 3, tzinfo=UTC)
ROWS: list[tuple[Cell, ...]] = [("商户", "笔数", "金额"), ("火锅店", 3, yuan(-12_345)), ("=1+1", None, yuan(5))]


def sheet_of(content: bytes) -> list[list[object]]:
    """Return the cells of a workbook's sheet."""
    sheet = openpyxl.load_workbook(io.BytesIO(content)).active
    return [[cell.value for cell in row] for row in sheet.iter_rows()]


def test_an_amount_in_yuan_is_exact() -> None:
    """Two decimals, whatever the sign."""
    assert [str(yuan(fen)) for fen in (0, 5, -5, 12_345, 10**15)] == [
        "0.00",
        "0.05",
        "-0.05",
        "123.45",
        "10000000000000.00",
    ]


def test_the_same_table_is_the_same_bytes_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the clock gets into a workbook but the instant that it is given."""
    first = workbook_of("汇总", ROWS, AT)
    monkeypatch.setattr("zipfile.time.time", lambda: 2_000_000_000.0)
    assert workbook_of("汇总", ROWS, AT) == first
    assert workbook_of("汇总", ROWS, AT + timedelta(seconds=1)) != first
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}


def test_a_csv_is_what_excel_takes_for_utf_8() -> None:
    """It begins with a byte order mark and ends its lines as Windows does."""
    content = csv_of(ROWS)
    assert content.startswith(b"\xef\xbb\xbf")
    assert content.count(b"\r\n") == 3
    assert content.decode("utf-8-sig").splitlines()[1] == "火锅店,3,-123.45"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "＝1", "＠x"])
def test_a_text_is_never_a_formula(text: str) -> None:
    """In a workbook it is a text cell; in CSV an apostrophe stands before it."""
    assert csv_of([("a",), (text,)]).decode("utf-8-sig").splitlines()[1] == f"'{text}"
    sheet = openpyxl.load_workbook(io.BytesIO(workbook_of("x", [("a",), (text,)], AT))).active
    assert (sheet["A2"].value, sheet["A2"].data_type) == (text, "s")


def test_control_characters_become_visible() -> None:
    """XML cannot hold them, and a line break in a cell misleads."""
    text = "a\x00b\x1fc\nd"
    assert sheet_of(workbook_of("x", [("a",), (text,)], AT))[1] == ["a\ufffdb\ufffdc\ufffdd"]
    assert csv_of([(text,)]).decode("utf-8-sig") == "a\ufffdb\ufffdc\ufffdd\r\n"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(max_size=8), min_size=1, max_size=4),
    st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=4),
)
def test_what_goes_in_comes_out(texts: list[str], amounts_fen: list[int]) -> None:
    """Amounts are the same numbers in both files, whatever texts stand beside them."""
    rows: list[tuple[Cell, ...]] = [("text", "yuan"), *((text, yuan(fen)) for text in texts for fen in amounts_fen)]
    expected = [fen for _ in texts for fen in amounts_fen]
    read = list(csv.reader(io.StringIO(csv_of(rows).decode("utf-8-sig"), newline="")))
    assert [int(Decimal(row[1]) * 100) for row in read[1:]] == expected
    assert [round(float(str(row[1])) * 100) for row in sheet_of(workbook_of("x", rows, AT))[1:]] == expected


def test_a_wide_table_has_a_name_for_each_column() -> None:
    """A to Z, then AA and on; a library of others finds every cell where it was put."""
    row = [f"c{number}" for number in range(60)]
    assert sheet_of(workbook_of("x", [row, row], AT)) == [row, row]


def test_columns_are_as_wide_as_their_names() -> None:
    """Within a bound."""
    book = openpyxl.load_workbook(io.BytesIO(workbook_of("x", [("a", "金" * 40)], AT)))
    assert book.active.column_dimensions["B"].width == tables._WIDTH_MAX
