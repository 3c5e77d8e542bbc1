"""What the bank or UnionPay counted, as it is read."""

from __future__ import annotations

import pytest

from grab_service.merchant_list import ListUnreadable
from grab_service.payment_list import payments_of
from ledger.comparison import Key
from tests.support.lists import workbook_of

HEADER = "merchant_no,order_no,kind,amount\n"


def test_lines_are_read_in_both_languages() -> None:
    """Amounts in yuan become fen without sign; a claw-back is a refund to the other side."""
    text = HEADER + 'm1,o1,核销,30.00\nm1,o1,冲正,-30\nm2,o2,REFUND,0.05\nm2,o3,结算后退款,"-1,234.50"\n'
    assert payments_of(text.encode("gb18030")) == [
        (Key("m1", "o1", "REDEEM"), 3_000),
        (Key("m1", "o1", "REVERSE"), 3_000),
        (Key("m2", "o2", "REFUND"), 5),
        (Key("m2", "o3", "REFUND"), 123_450),
    ]


def test_a_workbook_is_read_too() -> None:
    """With numbers as numbers."""
    rows: list[list[object]] = [["kind", "amount", "order_no", "merchant_no"], ["核销", 29.99, 7, "m1"]]
    assert payments_of(workbook_of(rows)) == [(Key("m1", "7", "REDEEM"), 2_999)]


def test_every_line_that_cannot_be_understood_is_told() -> None:
    """Nothing is compared by halves."""
    lines = ["m1,,核销,1", "m1,o1,付款,1", "m1,o1,核销,1.005", "m1,o1,核销,one", "m1,o1,核销,NaN", "m1,o1,核销,1e30"]
    with pytest.raises(ListUnreadable) as refused:
        payments_of((HEADER + "\n".join(lines)).encode())
    told = str(refused.value).splitlines()
    assert [line.partition(":")[0] for line in told] == [
        "line 2, order_no",
        "line 3, kind",
        *(f"line {n}, amount" for n in (4, 5, 6, 7)),
    ]


def test_too_many_bad_lines_are_not_all_told() -> None:
    """Twenty, and how many more."""
    with pytest.raises(ListUnreadable, match="and 10 more"):
        payments_of((HEADER + "m1,o1,核销,x\n" * 30).encode())
