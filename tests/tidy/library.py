"""Reads the gate's function library: what each header promises and what the code below it does."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.tidy.project import ROOT

SECTIONS = ["KEYS", "ARGV", "RETURNS", "EMITS", "COST", "WHY"]
SOURCE = (ROOT / "lua" / "grab.lua").read_text(encoding="utf-8")

_HEADER_AND_CODE = re.compile(
    r"^--\[\[\n(?P<name>grab_\w+): (?P<header>.*?)\n\]\]\nlocal function (?P<local>\w+)\(.*?\)\n(?P<code>.*?)^end\n",
    re.DOTALL | re.MULTILINE,
)
_REGISTERED = re.compile(
    r"^redis\.register_function(?:\('(?P<name>\w+)', (?P<local>\w+)\)"
    r"|\{ function_name = '(?P<name_>\w+)', callback = (?P<local_>\w+), flags = \{ (?P<flags>.*) \} \})$",
    re.MULTILINE,
)
_WRITES = re.compile(r"redis\.p?call\('(?:HSET|HINCRBY|DEL|UNLINK|LPOP|RPUSH|XADD)', ([^')]*)")


@dataclass(frozen=True, slots=True)
class Key:
    """One line of KEYS: ``1  rules  hash  any remark``."""

    name: str
    type: str
    remark: str

    def may_be(self, field: str) -> bool:
        """Tell whether the key of this name can stand here: by name, or among those that the line lists."""
        return field == self.name or field in re.findall(r"\w+", f"{self.type} {self.remark}")


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the library.

    Attributes:
        name: Under which it is called, ``grab_claim``.
        local: Its name in the file.
        sections: Text of the header by section.
        code: Its body.
    """

    name: str
    local: str
    sections: dict[str, str]
    code: str

    @property
    def keys(self) -> list[Key]:
        """The keys that the header lists, in order."""
        lines = re.findall(r"^ +(\d+) +(\w+) +(.*)$", self.sections["KEYS"], re.MULTILINE)
        assert [int(number) for number, _, _ in lines] == list(range(1, len(lines) + 1)), f"KEYS of {self.name}"
        return [Key(name, *_split(rest)) for _, name, rest in lines]

    @property
    def single_arguments(self) -> set[int]:
        """The numbers of the arguments that the header lists one by one."""
        return {int(number) for number in re.findall(r"^ +(\d+)  +\S", self.sections["ARGV"], re.MULTILINE)}

    @property
    def letters(self) -> dict[str, str]:
        """The letters that RETURNS lists, each with its name, in order of precedence."""
        return dict(re.findall(r"^  ([A-Z])  ([A-Z_]+)\b", self.sections["RETURNS"], re.MULTILINE))

    @property
    def keys_used(self) -> set[int]:
        """The numbers of the keys that the code names."""
        return _numbers_in("keys", self.code)

    @property
    def arguments_used(self) -> set[int]:
        """The numbers of the arguments that the code names."""
        return _numbers_in("args", self.code)

    @property
    def keys_written(self) -> set[int]:
        """The numbers of the keys that the code writes."""
        numbers: dict[str, str] = {}
        for names, values in re.findall(r"local ([\w, ]+) = (keys\[.*)", self.code):
            numbers |= zip(names.split(", "), values.split(", "), strict=True)
        written = [part.strip() for parts in _WRITES.findall(self.code) for part in parts.split(",")]
        return _numbers_in("keys", " ".join(numbers.get(part, part) for part in written))


def functions() -> list[Function]:
    """Return every function that has a header, in the order of the file."""
    return [
        Function(found["name"], found["local"], _sections(found["header"]), found["code"])
        for found in _HEADER_AND_CODE.finditer(SOURCE)
    ]


def registered() -> dict[str, tuple[str, bool]]:
    """Return what is registered: the name of the local function, and whether it is flagged to write nothing."""
    return {
        found["name"] or found["name_"]: (
            found["local"] or found["local_"],
            found["flags"] == "'no-writes'",
        )
        for found in _REGISTERED.finditer(SOURCE)
    }


def _sections(header: str) -> dict[str, str]:
    parts = re.split(r"^([A-Z]+)(?=\s)", header, flags=re.MULTILINE)
    return {"PURPOSE": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def _split(rest: str) -> tuple[str, str]:
    kind, _, remark = rest.partition(" ")
    return kind, remark.strip()


def _numbers_in(name: str, code: str) -> set[int]:
    return {int(number) for number in re.findall(rf"\b{name}\[(\d+)\]", code)}
