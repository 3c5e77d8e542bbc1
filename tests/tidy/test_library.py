"""The headers of ``lua/grab.lua`` and the table of ``lua/README.md`` are contracts: code and callers keep them."""

from __future__ import annotations

import re
from dataclasses import asdict

import pytest

from grab_service import keys
from grab_service.gate import Letter
from ledger import corridor
from tests.tidy import library
from tests.tidy.callers import Caller, callers
from tests.tidy.library import Function
from tests.tidy.project import ROOT

FUNCTIONS = {function.name: function for function in library.functions()}
CALLERS = list(callers())

each_function = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=lambda function: function.name)
each_caller = pytest.mark.parametrize("caller", CALLERS, ids=lambda caller: f"{caller.where}-{caller.function}")


def test_what_is_registered_has_a_header_and_the_other_way_round() -> None:
    """Each registered function has a header under its name, right above the code that is registered."""
    assert {name: local for name, (local, _) in library.registered().items()} == {
        function.name: function.local for function in FUNCTIONS.values()
    }


@each_function
def test_a_header_has_every_section_in_order(function: Function) -> None:
    """A header says its purpose, then KEYS, ARGV, RETURNS, EMITS, COST and WHY, and none is empty."""
    assert list(function.sections) == ["PURPOSE", *library.SECTIONS]
    assert all(text.strip() for text in function.sections.values())


@each_function
def test_a_header_lists_the_keys_and_arguments_of_the_code(function: Function) -> None:
    """The code uses exactly the keys and the single arguments that its header lists."""
    assert function.keys_used == set(range(1, len(function.keys) + 1))
    assert function.arguments_used - {0} == function.single_arguments


@each_function
def test_what_is_flagged_to_write_nothing_is_what_writes_nothing(function: Function) -> None:
    """A function is flagged ``no-writes`` unless it writes a key or the library's own memory."""
    _, is_flagged = library.registered()[function.name]
    remembers = re.search(r"^\s*(open_epochs|probes)\[.*\] =|\bprobes\[.*\] = ", function.code, re.MULTILINE)
    assert is_flagged == (not function.keys_written and remembers is None)


@each_caller
def test_a_caller_passes_the_keys_of_the_header(caller: Caller) -> None:
    """Every call in Python passes as many keys as the header lists, of those names, in that order."""
    listed = FUNCTIONS[caller.function].keys
    assert caller.key_count == len(listed) == len(caller.keys)
    for key, field in zip(listed, caller.keys, strict=True):
        assert field is None or key.may_be(field), f"{field} is passed where {key.name} is expected"
    assert caller.reads_only == library.registered()[caller.function][1]


def test_letters_are_those_of_the_enumeration() -> None:
    """The letters of a claim, in order of precedence, and of a look are the members of ``Letter``."""
    claim, look = FUNCTIONS["grab_claim"].letters, FUNCTIONS["grab_look"].letters
    members = {letter.value: letter.name for letter in Letter}
    assert list((claim | look).items()) == list(members.items())
    assert look.items() <= members.items()


@pytest.mark.parametrize("name", ["grab_claim", "grab_look"])
def test_the_code_answers_with_the_letters_of_its_header(name: str) -> None:
    """No letter is returned that the header does not explain, and each that it explains is returned."""
    assert set(re.findall(r"'([A-Z])'", FUNCTIONS[name].code)) == set(FUNCTIONS[name].letters)


@pytest.mark.parametrize("names", [keys.StockKeys, corridor.StockKeys], ids=["grab_service", "ledger"])
def test_the_table_names_the_keys_of_the_code(names: type[keys.StockKeys | corridor.StockKeys]) -> None:
    """Service, ledger and ``lua/README.md`` name the same keys."""
    of_code = asdict(names.of("c-r1-general-1", "c", "general-1"))
    assert keys.WATCH == corridor.WATCH
    assert [*of_code.values(), keys.WATCH, keys.ASKED] == [_example(row["key"]) for row in _table()]


def test_the_table_says_type_and_writers_of_every_key() -> None:
    """``lua/README.md`` gives each key the type of the headers and names exactly the functions that write it."""
    fields = [*asdict(keys.StockKeys.of("c-r1-general-1", "c", "general-1")), "watch", "asked"]
    for field, row in zip(fields, _table(), strict=True):
        writers = {
            function.name
            for function in FUNCTIONS.values()
            for number, key in enumerate(function.keys, start=1)
            if number in function.keys_written and key.may_be(field)
        }
        types = {key.type for function in FUNCTIONS.values() for key in function.keys if key.name == field}
        assert set(re.findall(r"`(grab_\w+)`", row["written by"])) == writers, field
        assert types == {row["type"]}, field


def _table() -> list[dict[str, str]]:
    """Read the first table of ``lua/README.md``."""
    text = (ROOT / "lua" / "README.md").read_text(encoding="utf-8")
    lines = [line.strip("| ").split(" | ") for line in text.split("\n\n## ")[0].splitlines() if line.startswith("|")]
    return [dict(zip(lines[0], cells, strict=True)) for cells in lines[2:]]


def _example(pattern: str) -> str:
    """Fill in a key of the table for a stock ``c-r1-general-1`` whose hash tag is ``c``."""
    name = pattern.strip("`").replace(":CLASS-TIER", ":general-1").replace(":CAMPAIGN-ROUND", ":c-r1")
    return name.replace(":S:", ":{c}-r1-general-1:").replace(":T:", ":{c}:")
