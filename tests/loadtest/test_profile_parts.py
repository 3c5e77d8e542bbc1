"""What the profile makes of the stacks that py-spy has seen."""

from __future__ import annotations

import pytest
from loadtest.bench.processes import BenchImpossible
from loadtest.bench.profile import Seen, libraries_of, page, profile_of, table_of

FOLDED = """\
process 7:"grab";serve (grab_service/serving.py:9);answer (/x/grab_service/api/front.py:40);decode (json/decoder.py:3) 6
process 7:"grab";serve (grab_service/serving.py:9);answer (/x/grab_service/api/front.py:77) 3
process 7:"grab";serve (grab_service/serving.py:9);__send (/lib/libc.so.6) 1
"""


def test_samples_count_for_the_top_and_for_what_called_it() -> None:
    """Lines of one function are one function."""
    own, within, total = profile_of(FOLDED)
    assert total == 10
    assert own == {"decode (decoder.py)": 6, "answer (api/front.py)": 3, "__send (libc.so.6)": 1}
    assert within["answer (api/front.py)"] == 9
    assert within["serve (grab_service/serving.py)"] == 10


def test_a_page_tells_functions_and_libraries() -> None:
    """Six of ten samples are 60 %; perf's head is no library."""
    told = "# Overhead  Shared Object\n    55.10%  _granian.so\n    20.00%  [kernel.kallsyms]\n"
    text = page({"won": Seen(FOLDED, told, 50.0)}, "granian")
    assert "A claim won: 50 µs of the API under granian" in text
    assert "| `decode (decoder.py)` | 60.0% | 60% |" in text
    assert "| the other 0 | 0.0% | |" in text
    assert "| `_granian.so` | 55.1% |" in text
    assert libraries_of("") == ""


def test_no_samples_are_no_profile() -> None:
    """An empty table would look like a fast service."""
    with pytest.raises(BenchImpossible):
        table_of("")
