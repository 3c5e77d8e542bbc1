"""How a claim ended, as it is counted."""

from __future__ import annotations

from enum import IntEnum


class Ending(IntEnum):
    """How a claim ended; 0 where the answer's status says it."""

    BY_STATUS = 0
    OK = 1
    REPLAY = 2
    PENDING = 3
    SOLD_OUT = 4
    NOT_STARTED = 5
    ENDED = 6
    PAUSED = 7
    NOT_ELIGIBLE = 8
    LIMITED = 9
    UNAUTHENTICATED = 10
    FORBIDDEN = 11
    NOT_FOUND = 12
    INVALID = 13
    ERROR = 14
    BUSY_QUEUE = 15
    BUSY_GATE = 16
    BUSY_RECOVERING = 17
    TOO_OFTEN = 18
    BUSY_CHECKS = 19
    BUSY_PLACES = 20

    @property
    def outcome(self) -> str:
        """The label of ``grab_claims_total``."""
        return "busy" if self in SHED_REASONS else self.name.lower()


SHED_REASONS = {
    Ending.BUSY_QUEUE: "queue_full",
    Ending.BUSY_GATE: "gate_unavailable",
    Ending.BUSY_RECOVERING: "recovering",
    Ending.BUSY_CHECKS: "failed_checks",
    Ending.BUSY_PLACES: "places_taken",
}
# Plain numbers: an addition to a member of an enumeration costs several times as much.
OF_STATUS = {200: int(Ending.REPLAY), 201: int(Ending.OK), 202: int(Ending.PENDING)}
OF_CODE = {
    "SOLD_OUT": Ending.SOLD_OUT,
    "NOT_STARTED": Ending.NOT_STARTED,
    "ENDED": Ending.ENDED,
    "PAUSED": Ending.PAUSED,
    "NOT_ELIGIBLE": Ending.NOT_ELIGIBLE,
    "LIMIT_REACHED": Ending.LIMITED,
    "SIGN_ERROR": Ending.UNAUTHENTICATED,
    "FORBIDDEN": Ending.FORBIDDEN,
    "PRESENCE_REQUIRED": Ending.FORBIDDEN,
    "RESOURCE_NOT_EXISTS": Ending.NOT_FOUND,
    "PARAM_ERROR": Ending.INVALID,
    "TOO_LARGE": Ending.INVALID,
    "FREQUENCY_LIMIT_EXCEED": Ending.TOO_OFTEN,
    "SYSTEM_BUSY": Ending.BUSY_RECOVERING,
}
