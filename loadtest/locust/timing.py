"""When people come and when they press: the phases of a rehearsal, and how fast a hand is.

Nothing here needs locust, so that it can be tested without its patches of the standard library.
"""

from __future__ import annotations

import random
from enum import Enum

LEAD_S = 15.0  # everybody stands before the button so long before the opening
SIGMA_S = 0.8  # how far people's reactions to a countdown spread


class Phase(Enum):
    """What happens now."""

    QUIET = "quiet"  # a few look at the page
    GATHERING = "gathering"  # everybody comes and waits
    RUSH = "rush"  # from the opening on
    OVER = "over"


def phase_at(now_s: float, *, opens_s: float, tail_s: float, lead_s: float = LEAD_S) -> Phase:
    """Return the phase at an instant; all are seconds of one clock.

    Args:
        now_s: The instant.
        opens_s: The opening.
        tail_s: How long people stay after it.
        lead_s: How long before it everybody comes.
    """
    if now_s >= opens_s + tail_s:
        return Phase.OVER
    if now_s >= opens_s:
        return Phase.RUSH
    return Phase.GATHERING if now_s >= opens_s - lead_s else Phase.QUIET


def reaction_s(dice: random.Random, sigma_s: float = SIGMA_S) -> float:
    """Return how long after the opening somebody presses: nobody presses early, most press at once."""
    return abs(dice.gauss(0.0, sigma_s))


def people_at(phase: Phase, people: int) -> int:
    """Return how many of ``people`` are there in a phase."""
    return max(1, people // 20) if phase is Phase.QUIET else people
