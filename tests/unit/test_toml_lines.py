"""Where the values of a TOML text begin."""

from __future__ import annotations

import pytest

from grab_service.toml_lines import Lines, Place, name_of, value_at

TEXT = """\
# [rounds] in a comment, and a = 1
title = "a # b [c] = \\"d\\""   # [title]

dotted.in."quoted.key" = 1
inline = { first = 1, second = { third = 2 } }
note = '''
[rounds]
opens_at = "not a key"
'''
towns = [
  "one",  # ]
  "two",
]

[[rounds]]
opens_at = 1

  [rounds.quantities]
  general-1 = 3

[[rounds]]
  [rounds.quantities]
  general-1 = 4

[ "merchants" . accepts ]
scan = true
"""


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("title",), 2),
        (("dotted",), 4),
        (("dotted", "in", "quoted.key"), 4),
        (("inline", "first"), 5),
        (("inline", "second", "third"), 5),
        (("note",), 6),
        (("towns",), 10),
        (("towns", 1), 10),
        (("rounds",), 15),
        (("rounds", 0, "opens_at"), 16),
        (("rounds", 0, "quantities", "general-1"), 19),
        (("rounds", 1), 21),
        (("rounds", 1, "quantities"), 22),
        (("rounds", 1, "quantities", "general-1"), 23),
        (("merchants", "accepts"), 25),
        (("merchants", "accepts", "scan"), 26),
    ],
)
def test_a_value_begins_in_the_line_of_its_key_or_header(place: Place, line: int) -> None:
    """Comments, strings, dotted keys and inline tables that look like something else mislead nobody."""
    assert Lines(TEXT).line_of(place) == line


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("rounds", 1, "opens_at"), 21),
        (("rounds", 0, "quantities", "dining-1"), 18),
        (("title", "below", 3), 2),
        (("absent",), None),
        ((), None),
    ],
)
def test_what_is_absent_has_the_line_of_the_table_that_lacks_it(place: Place, line: int | None) -> None:
    """A missing key is looked for where it should be added; at the top there is no such line."""
    assert Lines(TEXT).line_of(place) == line


def test_lines_are_counted_alike_with_line_ends_of_windows() -> None:
    """A carriage return is part of the line's end."""
    lines = Lines(TEXT.replace("\n", "\r\n"))

    assert lines.line_of(("rounds", 1, "quantities", "general-1")) == 23
    assert lines.line_of(("note",)) == 6


def test_a_place_is_named_as_people_count() -> None:
    """Indexes are written from 1, and the whole file has no name."""
    assert name_of(("rounds", 0, "quantities", "general-1")) == "rounds[1].quantities.general-1"
    assert name_of(()) == ""


def test_a_place_that_leads_nowhere_has_no_value() -> None:
    """Neither an absent key nor a step into a number is an error."""
    document = {"rounds": [{"opens_at": 1}]}

    assert value_at(document, ("rounds", 0, "opens_at")) == 1
    assert value_at(document, ("rounds", 1, "opens_at")) is None
    assert value_at(document, ("rounds", 0, "opens_at", "hour")) is None
