"""Everything that is wrong with a campaign file, by line, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grab_service.campaign_rules import Finding, broken_rules
from grab_service.toml_lines import Lines, name_of

# What pydantic calls a wrong shape, and how to put it right.
_ADVICE = {
    "missing": "is missing: add it",
    "extra_forbidden": "is not a known name: correct the spelling or remove it",
    "int_type": "must be a whole number, without quotes and without a decimal point",
    "string_type": "must be text in quotes",
    "datetime_type": "must be an instant such as 2023-12-03T10:00:00+08:00, without quotes",
    "timezone_aware": "has no offset: write one, as in 2023-12-03T10:00:00+08:00",
    "tuple_type": "must be a list: [...], or [[...]] above each of its tables",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "literal_error": "must be {expected}",
    "greater_than": "must be greater than {gt}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must not be empty",
    "too_long": "must have at most {max_length} entries",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a campaign file.

    Attributes:
        line: The line, from 1; None if it concerns the whole file.
        where: The place by name, ``rounds[1].opens_at``, counted from 1; empty for the whole file.
        sentence: What is wrong and what to do about it; complete without the other two.
    """

    line: int | None
    where: str
    sentence: str

    def in_file(self, file: str | Path) -> str:
        """Write the problem as compilers do: ``FILE:LINE: sentence``."""
        return f"{file}: {self.sentence}" if self.line is None else f"{file}:{self.line}: {self.sentence}"


class CampaignInvalid(ValueError):
    """A campaign file must not be used.

    Attributes:
        problems: Everything that is wrong with it, in the order of the file.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(problem.in_file("campaign") for problem in problems))
        self.problems = problems


def problems_of(text: str, document: Mapping[str, Any], shape_errors: Sequence[Mapping[str, Any]]) -> list[Problem]:
    """Find everything that is wrong with a file that is TOML, in the order of its lines.

    Args:
        text: The file.
        document: The file as ``tomllib`` reads it.
        shape_errors: What pydantic has to say about it (``ValidationError.errors``).
    """
    # A list of nothing but wrong entries is also called too short, though it is not.
    errors = [error for error in shape_errors if not (error["type"] == "too_short" and error["input"])]
    # An unknown name is wrong by itself, but says nothing against the table that it stands in.
    unsound = {error["loc"] for error in errors if error["type"] != "extra_forbidden"}
    findings = [Finding(error["loc"], _shape_fault(error)) for error in errors]
    findings.extend(broken_rules(document, unsound))
    lines = Lines(text)
    problems = [
        Problem(lines.line_of(place), name_of(place), f"{name_of(place)} {fault}.") for place, fault in findings
    ]
    return sorted(problems, key=lambda problem: problem.line or 0)


def not_toml(text: str, error: Exception) -> Problem:
    """Say where and why ``tomllib`` stopped; its message ends with the place."""
    reason, _, place = str(error).partition(" (at ")
    at_line = re.match(r"line (\d+)", place)
    line = int(at_line[1]) if at_line else text.rstrip().count("\n") + 1
    return Problem(line, "", f"This is not TOML: {reason}. Correct this line or the one before it.")


def _shape_fault(error: Mapping[str, Any]) -> str:
    advice = _ADVICE.get(error["type"])
    # The campaign's own kinds of value say what to do themselves.
    return advice.format_map(error.get("ctx", {})) if advice else str(error["msg"])
