"""Who waits for what becomes of a claim."""

from __future__ import annotations

from typing import Protocol, TypeVar

Told_contra = TypeVar("Told_contra", contravariant=True)


class Claimant(Protocol[Told_contra]):
    """Is told what his claim has come to, once for each time that it was queued: a future, or what costs less."""

    def done(self) -> bool:
        """Whether he waits no more; then he is not to be told anything."""

    def set_result(self, result: Told_contra, /) -> None:
        """Tell him."""

    def set_exception(self, exception: Exception, /) -> None:
        """Tell him why it is not known."""
