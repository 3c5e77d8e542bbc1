"""The entry of the locust suite: people of every kind on one morning.

    locust -f loadtest/locustfile.py --headless --people 400 --processes 2 --host http://127.0.0.1:8000

Outcomes are rows of their own (``claim WON``, ``claim SOLD_OUT``).  A refusal is in order; 5xx, broken
connections and broken promises are failures.  ``make rehearse`` does everything around it.
"""

from __future__ import annotations

import sys
from pathlib import Path

# locust puts this file's directory first, where the suite's own folder has the name of locust itself.
_HERE = str(Path(__file__).parent)
sys.path[:] = [str(Path(__file__).parents[1]), *(each for each in sys.path if each != _HERE)]

from loadtest.locust import options, verdict  # noqa: E402  the path comes first
from loadtest.locust.bots import Bot  # noqa: E402  the path comes first
from loadtest.locust.grabbers import OneShotGrabber  # noqa: E402  the path comes first
from loadtest.locust.pollers import Poller  # noqa: E402  the path comes first
from loadtest.locust.redeemers import Redeemer  # noqa: E402  the path comes first
from loadtest.locust.retriers import Retrier  # noqa: E402  the path comes first
from loadtest.locust.shape import TenOClockShape  # noqa: E402  the path comes first

__all__ = ["Bot", "OneShotGrabber", "Poller", "Redeemer", "Retrier", "TenOClockShape", "options", "verdict"]
