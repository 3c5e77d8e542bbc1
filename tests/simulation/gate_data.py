"""What one stock's gate persists, and how stream ids are written."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

Fields = dict[str, str]
Id = tuple[int, int]


def text_of(stream_id: Id) -> str:
    """Write a stream id."""
    return f"{stream_id[0]}-{stream_id[1]}"


def id_of(text: str) -> Id:
    """Read a stream id."""
    ms, _, seq = text.partition("-")
    return int(ms), int(seq)


@dataclass(slots=True)
class Data:
    """What a server persists."""

    library: str | None = None
    rules: Fields = field(default_factory=dict)
    free: list[str] = field(default_factory=list)
    holders: Fields = field(default_factory=dict)
    stream: list[tuple[Id, Fields]] = field(default_factory=list)
    last_id: Id = (0, 0)
    progress: Fields = field(default_factory=dict)
    refused: Fields = field(default_factory=dict)

    def copy(self) -> Data:
        """Return what it is now."""
        return replace(
            self,
            rules=self.rules.copy(),
            free=self.free.copy(),
            holders=self.holders.copy(),
            stream=self.stream.copy(),
            progress=self.progress.copy(),
            refused=self.refused.copy(),
        )
