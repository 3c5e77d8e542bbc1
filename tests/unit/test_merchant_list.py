"""Reading a bank's list: every encoding and form that banks send, within bounds, with the line of each row."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grab_service import merchant_list
from grab_service.merchant_list import ListRow, ListUnreadable, read_list
from tests.support.lists import COLUMNS, csv_of, row, workbook_of
from tests.support.merchants import number


def read(tmp_path: Path, content: bytes) -> list[ListRow]:
    """Read a list with this content."""
    file = tmp_path / "list"
    file.write_bytes(content)
    return read_list(file)


def facts(rows: list[ListRow]) -> list[list[str]]:
    """Return the texts of rows."""
    assert all(not each.faults for each in rows)
    return [[each.texts[column] for column in COLUMNS] for each in rows]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_a_csv_is_read_in_the_encodings_of_banks(tmp_path: Path, encoding: str) -> None:
    """UTF-8 with or without a byte-order mark, and GB18030 with a rare character."""
    rows = [row(1), row(2, name="㐀𠀀火锅")]
    assert facts(read(tmp_path, csv_of(*rows).encode(encoding))) == rows


def test_a_workbook_is_read(tmp_path: Path) -> None:
    """Numbers that Excel has made of texts become texts again, and empty rows are passed over."""
    first = [int(number(1)), *row(1)[1:]]
    second = [float(number(2)), *row(2)[1:]]
    read_rows = read(tmp_path, workbook_of([COLUMNS, first, [None], second, [None, ""]]))
    assert facts(read_rows) == [row(1), row(2)]
    assert [each.line for each in read_rows] == [2, 4]


def test_columns_are_found_by_their_names(tmp_path: Path) -> None:
    """Their order, capitals and spaces do not matter."""
    turned = ",".join(reversed([f" {name.upper()} " for name in COLUMNS])) + "\n" + ",".join(reversed(row(1))) + "\n"
    assert facts(read(tmp_path, turned.encode())) == [row(1)]


def test_a_row_is_told_by_the_line_on_which_it_begins(tmp_path: Path) -> None:
    """Empty lines and line breaks within quotes are counted as an editor counts them."""
    text = csv_of(row(1), [], row(2, name='"两\r\n行"'), row(3))
    assert [each.line for each in read(tmp_path, text.encode())] == [2, 4, 6]


@pytest.mark.parametrize("between", ["|", ";", "、", " ", ", ", " | "])
def test_ways_of_payment_are_separated_as_people_do(tmp_path: Path, between: str) -> None:
    """A list in one cell."""
    [one] = read(tmp_path, csv_of(row(1, accepts=f'"payment_code{between}scan"')).encode())
    assert one.accepts == ["payment_code", "scan"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\r\n\r\n", "is empty"),
        (b"merchant_no,name\n", "lacks address, town, category, accepts"),
        (csv_of().replace("town", "towns").encode(), "lacks town and has 'towns'"),
        (csv_of().replace("name", "name,name").encode(), "has 'name', which it must not or only once"),
        (csv_of(row(1)).encode("utf-16"), "UTF-16"),
        (csv_of(row(1)).encode() + b"\xff\xff\n", "line 3 is neither UTF-8 nor GB18030"),
        (b"\xd0\xcf\x11\xe0" + bytes(100), "old Excel"),
        (b"PK\x03\x04" + bytes(100), "workbook cannot be read"),
        (workbook_of([]), "is empty"),
    ],
)
def test_a_file_that_is_no_list_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    """The sentence says what is the matter with it as a whole."""
    with pytest.raises(ListUnreadable, match=reason):
        read(tmp_path, content)


def test_a_row_with_a_comma_too_many_is_told(tmp_path: Path) -> None:
    """Nothing slips into another column unseen; a row that is too short has empty texts."""
    long, short = read(tmp_path, csv_of([*row(1), "more"], row(2)[:3]).encode())
    assert [column for column, _ in long.faults] == ["row"]
    assert short.texts["town"] == ""


def test_a_quote_that_never_closes_is_told(tmp_path: Path) -> None:
    """What stands after it cannot be told apart, and the report says so."""
    rows = read(tmp_path, csv_of(row(1), row(2, name='"open'), row(3)).encode())
    assert [bool(each.faults) for each in rows] == [False, True]
    assert rows[1].line == 3
    assert "nothing after it was read" in rows[1].faults[0][1]


def test_formulas_and_errors_of_a_workbook_are_told(tmp_path: Path) -> None:
    """A cell that is computed has no value of its own here."""
    cells = [number(1), "=1+1", "#REF!", *row(1)[3:]]
    [one] = read(tmp_path, workbook_of([COLUMNS, cells]))
    assert dict(one.faults).keys() == {"name", "address"}


def test_a_file_beyond_bounds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes, rows and what a packed workbook unpacks to are bounded."""
    monkeypatch.setattr(merchant_list, "ROWS_MAX", 2)
    assert len(read(tmp_path, csv_of(row(1), row(2)).encode())) == 2
    with pytest.raises(ListUnreadable, match="more than 2 rows"):
        read(tmp_path, csv_of(row(1), row(2), row(3)).encode())
    monkeypatch.setattr(merchant_list, "UNPACKED_BYTES_MAX", 100)
    with pytest.raises(ListUnreadable, match="unpacks to more than 100 bytes"):
        read(tmp_path, workbook_of([COLUMNS, row(1)]))
    monkeypatch.setattr(merchant_list, "FILE_BYTES_MAX", 100)
    with pytest.raises(ListUnreadable, match="more than 100 bytes"):
        read(tmp_path, csv_of(row(1)).encode())


def test_an_archive_that_is_no_workbook_is_refused(tmp_path: Path) -> None:
    """A renamed archive is not taken for a workbook."""
    file = tmp_path / "list.xlsx"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ListUnreadable, match="cannot be read"):
        read_list(file)


_WORKBOOK = workbook_of([COLUMNS, row(1), row(2)])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.one_of(st.binary(max_size=300), st.tuples(st.integers(0, len(_WORKBOOK) - 1), st.integers(0, 255))))
def test_no_bytes_make_more_than_a_refusal(tmp_path: Path, damage: bytes | tuple[int, int]) -> None:
    """Whatever a file holds, it is read or refused."""
    content = bytearray(_WORKBOOK)
    if isinstance(damage, bytes):
        content = bytearray(csv_of(row(1)).encode() + damage)
    else:
        content[damage[0]] = damage[1]
    try:
        rows = read(tmp_path, bytes(content))
    except ListUnreadable:
        return
    assert all(each.texts.keys() == set(COLUMNS) for each in rows)
