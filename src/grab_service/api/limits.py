"""Who asks too often: by block of addresses before anything else is looked at, by user or client once that is known."""

from __future__ import annotations

import time
from math import ceil

from grab_service.api.problems import Code, Problem
from grab_service.identity import Identity
from grab_service.limits import Buckets, Ration
from grab_service.settings import Settings
from grab_service.tickets import USER_SCOPES


class Limits:
    """The limits of one process for all routes but claims and those that are for everybody.

    Args:
        settings: The settings.

    Attributes:
        signatures: The ration of back ends' signatures that fail.
    """

    def __init__(self, settings: Settings) -> None:
        self._users = Buckets(settings.user_requests_max)
        self._clients = Buckets(settings.client_requests_max)
        self._blocks = Buckets(settings.block_requests_max)
        self.signatures = Ration(settings.verify_rate_max, settings.verify_rate_block_max)

    def admit_block(self, block: str | None) -> None:
        """Count a request from a block of addresses.

        Raises:
            Problem: FREQUENCY_LIMIT_EXCEED.
        """
        if block is not None:
            _pass(self._blocks, block, "Too many requests from your network.")

    def admit_caller(self, identity: Identity) -> None:
        """Count a request of a caller: a user, or a till, a back end or one of the staff.

        Raises:
            Problem: FREQUENCY_LIMIT_EXCEED.
        """
        buckets = self._users if identity.scopes <= USER_SCOPES else self._clients
        _pass(buckets, identity.user_ref, "Too many requests of yours.")


def _pass(buckets: Buckets, key: str, detail: str) -> None:
    wait_s = buckets.wait_s(key, time.monotonic())
    if wait_s:
        raise Problem(Code.FREQUENCY_LIMIT_EXCEED, detail, retry_after_s=ceil(wait_s))
