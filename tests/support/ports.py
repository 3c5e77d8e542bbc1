"""Ports for servers of a test's own: no two processes of a run are given the same one.

A port that the system chooses is free only until it is given to somebody else, be it for a connection that goes out.
So these come from below the system's, and each process of a run takes its own in turn.
"""

from __future__ import annotations

import itertools
import os
import socket

_FIRST, _OF_PROCESS, _PROCESSES = 10_000, 1_000, 20  # the system's begin at 32,768 on Linux
_numbers = itertools.count(os.getpid())  # another run begins elsewhere


def free_port() -> int:
    """Return a TCP port that is free now, and is not given again soon.

    Raises:
        RuntimeError: None is.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    begin = _FIRST + _OF_PROCESS * (worker % _PROCESSES)
    for _ in range(_OF_PROCESS):
        port = begin + next(_numbers) % _OF_PROCESS
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no port from {begin} on is free")
