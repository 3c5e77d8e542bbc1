"""Style of the Python code that no linter knows."""

from __future__ import annotations

import ast
import re

from tests.tidy.project import ROOT, SOURCES, calls_in, name_of, python_files, texts_in, tree_of

LINES_MAX = 350  # of a module; more than that has more than one purpose
EMPTY_NAMES = {"utils", "util", "common", "helpers", "misc", "base", "shared"}

# A statement's first words; SQL is written in capitals, sentences are not.
SQL = re.compile(
    r"\s*(SELECT|INSERT INTO|UPDATE [a-z_]+|DELETE FROM|CREATE|ALTER|DROP|TRUNCATE|WITH|COPY|LOCK|SHOW|SET|BEGIN)\b"
)
LUA = re.compile(r"redis\.p?call|\bKEYS\[\d|\bARGV\[\d|^#!lua")
LUA_HEADER = re.compile(r"^--\[\[.*?\]\]\n", re.DOTALL | re.MULTILINE)

EXCEPTION = re.compile(r"#\s*(noqa|type: ignore)\b")
EXCEPTION_WITH_REASON = re.compile(r"# (noqa: [A-Z]+\d+(, [A-Z]+\d+)*  \w|type: ignore\[[a-z, -]+\]  # \w)")


def test_a_module_that_is_not_empty_says_why_it_exists() -> None:
    """Every module begins with a docstring."""
    assert [
        name_of(path) for path in python_files() if path.stat().st_size and not ast.get_docstring(tree_of(path))
    ] == []


def test_modules_are_short() -> None:
    """Every module stays within the bound, and so does the gate's library without the contracts of its functions."""
    texts = {name_of(path): path.read_text(encoding="utf-8") for path in python_files()}
    texts["lua/grab.lua"] = LUA_HEADER.sub("", (ROOT / "lua" / "grab.lua").read_text(encoding="utf-8"))
    assert {name for name, text in texts.items() if len(text.splitlines()) > LINES_MAX} == set()


def test_modules_are_named_for_what_they_do() -> None:
    """No module or package has a name under which anything may be put."""
    assert {name_of(path) for path in python_files() if EMPTY_NAMES & {path.stem, path.parent.name}} == set()


def test_an_exception_to_a_rule_names_rule_and_reason() -> None:
    """Every ``noqa`` and ``type: ignore`` names what is ignored, and why, on its line."""
    lines = [(name_of(path), line) for path in python_files() for line in path.read_text(encoding="utf-8").splitlines()]
    exceptions = [(name, line) for name, line in lines if EXCEPTION.search(line)]
    assert [found for found in exceptions if not EXCEPTION_WITH_REASON.search(found[1])] == []


def test_sql_and_lua_stand_in_files_of_their_own() -> None:
    """No string of the sources is SQL or Lua."""
    texts = [(name_of(path), line, text) for path in python_files(*SOURCES) for line, text in texts_in(path)]
    assert [found for found in texts if SQL.match(found[2]) or LUA.search(found[2])] == []


def test_the_service_speaks_through_logs_and_answers() -> None:
    """Nothing in the packages calls ``print``."""
    calls = [(name_of(path), call) for path in python_files(ROOT / "src") for call in calls_in(path)]
    assert [(name, call.lineno) for name, call in calls if ast.unparse(call.func) == "print"] == []


def test_tests_do_not_sleep_for_luck() -> None:
    """Tests wait for facts with ``wait_until``; a sleep of nothing only lets others run."""
    calls = [(path, call) for path in python_files(ROOT / "tests") for call in calls_in(path) if path.name != "wait.py"]
    sleeps = [(name_of(path), call) for path, call in calls if ast.unparse(call.func).split(".")[-1] == "sleep"]
    assert [(name, call.lineno) for name, call in sleeps if ast.unparse(call.args[0]) != "0"] == []
