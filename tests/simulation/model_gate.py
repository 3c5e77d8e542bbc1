"""A model of one stock's gate: the contracts of ``lua/grab.lua`` and of the stream, in memory.

It knows one stock without limits that span stocks.  ``test_model_gate.py`` holds it against the real
library on a real server.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import redis.asyncio as redis

from tests.simulation.gate_data import Data, Fields, Id, id_of, text_of
from tests.simulation.rules import Rule
from tests.simulation.scheduler import Clock

_KEPT_MAX = 60  # states that a damaged append-only file can fall back to


class ModelGate:
    """A server with the library.

    Args:
        clock: The world's.
        broken: Rules that it does not keep.

    Attributes:
        run_id: Identity of the server process.
        data: What is persisted.
        history: What it was after each write, oldest first: what a damaged file can fall back to.
        open_epoch: The fuse; memory.
        listeners: Called with each line that is announced.
        given: For the checks: letters that each claim was answered with, and the epoch.
    """

    def __init__(self, clock: Clock, broken: frozenset[Rule] = frozenset(), run_id: str = "1") -> None:
        self.clock = clock
        self.broken = broken
        self.run_id = run_id
        self.data = Data()
        self.history: list[Data] = [Data()]
        self.open_epoch = 0
        self.latest_ms = 0
        self.probes: set[str] = set()
        self.listeners: list[Callable[[str], None]] = []
        self.given: list[tuple[int, str, int]] = []
        self._functions: dict[str, Callable[[Sequence[str]], Any]] = {
            "grab_claim": self._claim,
            "grab_look": self._look,
            "grab_counts": self._counts,
            "grab_progress": lambda _: self._progress_line(list(self.data.refused)),
            "grab_confirm": self._commit,
            "grab_pause": self._pause,
            "grab_close": self._close,
            "grab_probe": self._probe,
            "grab_rebuild": self._rebuild,
            "grab_put_free": self._put_free,
            "grab_put_hash": self._put_hash,
            "grab_open": self._open,
            "grab_tell": lambda _: 1,  # the watch's verdict: nothing here reads it
        }

    def trouble(self) -> Exception:
        """Return what a client sees of a cut connection."""
        return redis.ConnectionError("cut")

    def restart(self, data: Data, run_id: str) -> None:
        """Become another process on these data; memory is lost."""
        self.data, self.run_id = data.copy(), run_id
        self.history = [data]
        self.listeners.clear()
        self.probes.clear()
        self.latest_ms = 0
        if Rule.FUSE in self.broken:
            self.data.rules["run_id"] = run_id
        else:
            self.open_epoch = 0

    def written(self) -> None:
        """Keep what the append-only file holds now."""
        self.history.append(self.data.copy())
        if len(self.history) > _KEPT_MAX:
            del self.history[: _KEPT_MAX // 2]

    @property
    def epoch(self) -> int:
        """The epoch it is open under; 0 when it is closed."""
        rules = self.data.rules
        epoch = int(rules.get("epoch", 0))
        return epoch if epoch > 0 and self.open_epoch == epoch and self.run_id == rules.get("run_id") else 0

    # -- commands of the server -------------------------------------------------------------------------

    def call(self, function: str, args: Sequence[str]) -> Any:
        """Call a function of the library; a write is kept.

        Raises:
            redis.ResponseError: The library is missing, or the function refuses its arguments.
        """
        if self.data.library is None:
            raise redis.ResponseError("Function not found")
        reply = self._functions[function](args)
        if function not in ("grab_look", "grab_counts", "grab_progress", "grab_probe", "grab_close", "grab_tell"):
            self.written()
        return reply

    def load(self, library: str) -> None:
        """Load the library anew: its memory is empty then."""
        self.data.library = library
        self.open_epoch, self.latest_ms = 0, 0
        self.probes.clear()
        self.written()

    def flush(self) -> None:
        """Forget every key; the library and its memory stay."""
        self.data = Data(library=self.data.library)
        self.written()

    # -- functions of the library -----------------------------------------------------------------------

    def _now_ms(self) -> int:
        self.latest_ms = max(self.latest_ms, self.clock.now_ms)
        return self.latest_ms

    def _claim(self, users: Sequence[str]) -> list[Any]:
        data, now_ms, epoch = self.data, self._now_ms(), self.epoch
        if not epoch:
            return [0, now_ms, "C" * len(users)]
        refusal = self._refusal(now_ms)
        letters, holdings = "", []
        for user in users:
            holding = None if Rule.ONE_VOUCHER in self.broken else data.holders.get(user)
            letter = refusal
            if holding is not None:
                letter = "R" if holding.split(":")[2] in data.refused else "H"
            elif not refusal:
                letter = "W" if data.free else "S"
            if letter == "W":
                number = data.free.pop(0)
                stream_id = self._append({"v": "1", "epoch": str(epoch), "claim_no": number, "user_ref": user}, now_ms)
                holding = data.holders[user] = f"{number}:{epoch}:{text_of(stream_id)}"
                if not data.free:
                    data.rules["sold_out_ms"] = str(now_ms)
            letters += letter
            if letter in "HW":
                holdings.append(holding)
        self.given.append((epoch, letters, len(data.free)))
        return [epoch, now_ms, letters, *holdings]

    def _refusal(self, now_ms: int) -> str:
        rules = self.data.rules
        if now_ms < int(rules["opens_ms"]):
            return "N"
        if now_ms >= int(rules["closes_ms"]):
            return "E"
        return "P" if rules["paused"] == "1" else ""

    def _append(self, fields: Fields, now_ms: int) -> Id:
        data = self.data
        seq = data.last_id[1] + 1 if data.last_id[0] == now_ms else 0
        data.last_id = (now_ms, seq)
        data.stream.append((data.last_id, fields))
        return data.last_id

    def _look(self, args: Sequence[str]) -> list[Any]:
        epoch, holding = self.epoch, self.data.holders.get(args[0])
        if not epoch:
            return [0, "C", ""]
        if holding is None:
            return [epoch, "A", ""]
        if holding.split(":")[2] in self.data.refused:
            return [epoch, "R", ""]
        return [epoch, "H", holding]

    def _counts(self, _: Sequence[str]) -> list[Any]:
        data, rules, progress = self.data, self.data.rules, self.data.progress
        return [
            1 if self.epoch else 0,
            int(rules.get("epoch", 0)),
            self._now_ms(),
            *(int(rules.get(name, 0)) for name in ("opens_ms", "closes_ms", "paused", "sold_out_ms")),
            len(data.free),
            len(data.holders),
            len(data.stream),
            int(progress.get("epoch", 0)),
            progress.get("committed", "0-0"),
            int(progress.get("booked", 0)),
        ]

    def _progress_line(self, refused: Sequence[str]) -> str:
        progress = self.data.progress
        facts = (progress.get("epoch", "0"), progress.get("committed", "0-0"), progress.get("booked", "0"))
        return " ".join((*facts, *refused))

    def _commit(self, args: Sequence[str]) -> int:
        data, progress = self.data, self.data.progress
        epoch, booked, after, upto, *pairs = args
        if progress.get("epoch") != epoch:
            return 0
        if id_of(after) > id_of(progress["committed"]) and Rule.NO_GAP not in self.broken:
            return -1
        refused = dict(zip(pairs[::2], pairs[1::2], strict=True))
        data.refused |= refused
        progress["committed"] = max(progress["committed"], upto, key=id_of)
        progress["booked"] = str(max(int(booked), int(progress["booked"])))
        self._announce(list(refused))
        return 1

    def _announce(self, refused: Sequence[str]) -> None:
        for listener in self.listeners:
            listener(self._progress_line(refused))

    def _pause(self, args: Sequence[str]) -> int:
        if "epoch" not in self.data.rules:
            return 0
        self.data.rules["paused"] = args[0]
        return 1

    def _close(self, _: Sequence[str]) -> int:
        was_open, self.open_epoch = self.open_epoch != 0, 0
        return 1 if was_open else 0

    def _probe(self, args: Sequence[str]) -> int:
        if args[1] == "set":
            self.probes.add(args[0])
        return 1 if args[0] in self.probes else 0

    def _rebuild(self, args: Sequence[str]) -> int:
        data, epoch = self.data, int(args[0])
        rules = data.rules
        if self.open_epoch or int(rules.get("epoch", 0)) >= epoch or int(rules.get("rebuilding", 0)) > epoch:
            return 0
        rules["rebuilding"] = args[0]
        data.free, data.holders, data.refused = [], {}, {}
        return 1

    def _is_rebuilding(self, epoch: str) -> bool:
        if Rule.OWN_REBUILD in self.broken:
            return True
        return not self.open_epoch and self.data.rules.get("rebuilding") == epoch

    def _put_free(self, args: Sequence[str]) -> int:
        if not self._is_rebuilding(args[0]):
            return 0
        for first, last in zip(args[1::2], args[2::2], strict=True):
            self.data.free += map(str, range(int(first), int(last) + 1))
        return 1

    def _put_hash(self, args: Sequence[str]) -> int:
        if not self._is_rebuilding(args[0]):
            return 0
        self.data.holders |= dict(zip(args[1::2], args[2::2], strict=True))
        return 1

    def _open(self, args: Sequence[str]) -> int:
        epoch, quantity, opens_ms, closes_ms, paused, round_limit, tier_limit, floor_ms, sold_out_ms, booked = args
        data = self.data
        if not self._is_rebuilding(epoch):
            return 0
        if len(data.free) + len(data.holders) != int(quantity) and Rule.NUMBERS not in self.broken:
            return -1
        last = text_of(data.last_id)
        self.latest_ms = max(self.latest_ms, data.last_id[0], int(floor_ms))
        data.rules = {
            "epoch": epoch,
            "run_id": self.run_id,
            "opens_ms": opens_ms,
            "closes_ms": closes_ms,
            "paused": paused,
            "round_limit": round_limit,
            "class_tier_limit": tier_limit,
            "sold_out_ms": sold_out_ms,
        }
        data.progress = {"epoch": epoch, "committed": last, "booked": booked}
        self._announce([])
        self.open_epoch = int(epoch)
        return 1
