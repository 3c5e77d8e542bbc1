"""Documents keep their word: their links, their anchors, their commands, and each Chinese one its twin."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup

from grab_service.cli import app
from tests.tidy.project import ROOT, documents, name_of

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_TWINS = sorted(path for path in documents() if path.name.endswith(".zh-CN.md"))
# A command ends where a sentence, another command or a comment goes on.
_COMMAND = re.compile(r"(?:^|[ `(/])grab ((?:[a-z]|--)[^`\n|;)#]*)")


@pytest.mark.parametrize("path", documents(), ids=name_of)
def test_anchors_lead_to_headings(path: Path) -> None:
    """Each link with an anchor leads to a heading of the document that it names."""
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", path.read_text(encoding="utf-8")):
        assert anchor in _anchors(path.parent / target if target else path), f"{target}#{anchor}"


@pytest.mark.parametrize("path", documents(), ids=name_of)
def test_commands_are_commands(path: Path) -> None:
    """Each `grab …` in code is a command of the service, with options that it has."""
    text = path.read_text(encoding="utf-8")
    code = [block for kind, block in _BLOCK.findall(text) if kind == "sh"]
    code += [f"`{span}`" for span in re.findall(r"`(grab [^`\n]+)`", _BLOCK.sub("", text))]
    for line in "\n".join(code).replace("\\\n", " ").splitlines():
        for found in _COMMAND.findall(line):
            assert _trouble_with(shlex.split(found.replace("…", ""), comments=True)) is None, found


@pytest.mark.parametrize("path", _TWINS, ids=name_of)
def test_a_chinese_document_has_all_that_its_twin_has(path: Path) -> None:
    """Headings, rows of tables, commands and figures are the same in both, in the same order."""
    twin = path.with_name(path.name.replace(".zh-CN", ""))
    assert _frame(path) == _frame(twin)


def test_every_decision_stands_in_the_index() -> None:
    """The index of decisions names each by its title, in order, and no other."""
    folder = ROOT / "docs" / "adr"
    files = sorted(folder.glob("0*.md"))
    titles = [path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ").split(". ", 1) for path in files]
    listed = re.findall(
        r"^\| \[(\d+)\]\((\S+)\) \| (.+) \|$", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert listed == [(number, path.name, title) for path, (number, title) in zip(files, titles, strict=True)]


def test_the_documents_that_many_read_are_there_in_chinese() -> None:
    """What operators and integrators read has a twin."""
    names = {name_of(path) for path in _TWINS}
    assert names >= {
        "README.zh-CN.md",
        "deploy/README.zh-CN.md",
        "docs/api.zh-CN.md",
        "docs/faq.zh-CN.md",
        "docs/launch-checklist.zh-CN.md",
        "docs/runbook.zh-CN.md",
    }


@pytest.mark.parametrize("name", ["launch-checklist.md", "launch-checklist.zh-CN.md"])
def test_a_recovery_is_approved_before_the_opening(name: str) -> None:
    """Two persons agree on it in the section before, so that in the moment one command is enough."""
    sections = re.split(r"^## ", (ROOT / "docs" / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
    [opening] = [number for number, text in enumerate(sections) if text.startswith(("T−5 min", "T−5 分"))]
    assert "`grab recover --request NUMBER`" in sections[opening]
    asked = sections[opening - 1].index("`grab admin request recover gate ")
    assert asked < sections[opening - 1].index("`grab admin approve NUMBER ")


def _frame(path: Path) -> list[str]:
    """Return what a translation leaves as it is: levels of headings, bars of tables, code without its remarks."""
    text = path.read_text(encoding="utf-8")
    frame = []
    for kind, block in _BLOCK.findall(text):
        if kind:  # a picture has words
            frame += [f"{kind}: {' '.join(line.partition(' #')[0].split())}" for line in block.splitlines()]
    for line in _BLOCK.sub("", text).splitlines():
        if line.startswith("#"):
            frame.append(line.split()[0])
        elif line.startswith("|"):
            frame.append(f"{line.count('|')} bars")
    return frame


def _anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings, as forges make them."""
    headings = re.findall(r"^#+ +(.*)$", _BLOCK.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _trouble_with(words: list[str]) -> str | None:
    """Return what is wrong with the words after `grab`, None if nothing is."""
    command = typer.main.get_command(app)
    while isinstance(command, TyperGroup) and words and not words[0].startswith("-"):
        found = command.commands.get(words[0])
        if found is None:
            return f"{words[0]} is no command"
        command, words = found, words[1:]
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}
    asked = [word.partition("=")[0].rstrip(".,:，。") for word in words if word.startswith("--")]
    return next((f"{name} is no option of it" for name in asked if name not in known), None)
