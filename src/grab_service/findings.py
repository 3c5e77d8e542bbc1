"""What a check of a deployment has found, or what mending it has done."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a check ended."""

    PASS = "pass"  # noqa: S105  a verdict, no password
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check.

    Attributes:
        name: What was checked.
        verdict: How it ended.
        detail: What was found.
        advice: What to change; empty if nothing.
    """

    name: str
    verdict: Verdict
    detail: str
    advice: str = ""

    @property
    def told(self) -> str:
        """What was found and what to change, in one line."""
        return f"{self.detail}: {self.advice}" if self.advice else self.detail
