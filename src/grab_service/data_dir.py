"""The directory of one rehearsal: what lies where in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT = Path(".grab")


@dataclass(frozen=True, slots=True)
class DataDir:
    """Paths below one data directory.

    Attributes:
        root: The directory, absolute.
    """

    root: Path

    @property
    def keys(self) -> Path:
        """The rehearsal's keys."""
        return self.root / "keys"

    @property
    def photos(self) -> Path:
        """Photos of merchants' shop fronts."""
        return self.root / "photos"

    @property
    def settings_file(self) -> Path:
        """Settings under which the rehearsal runs or last ran, for commands that are to speak to it."""
        return self.root / "settings.toml"

    @property
    def lock(self) -> Path:
        """Held by the one ``grab up`` of this directory; holds its process id."""
        return self.root / "run" / "up.lock"

    def server(self, name: str) -> Path:
        """Return where a server keeps its data."""
        return self.root / name

    def log(self, name: str) -> Path:
        """Return the log of a child."""
        return self.root / "log" / f"{name}.log"

    def pid(self, name: str) -> Path:
        """Return the file with a child's process id; it is there exactly while the child runs."""
        return self.root / "run" / f"{name}.pid"

    def child_lock(self, name: str) -> Path:
        """Return the file that a child keeps locked for as long as it lives, whatever becomes of its parent."""
        return self.root / "run" / f"{name}.lock"

    def make(self) -> None:
        """Make the directories that are not there yet.

        Raises:
            OSError: They cannot be made.
        """
        for path in (self.root, self.root / "run", self.root / "log"):
            path.mkdir(parents=True, exist_ok=True)
