"""Serves the API as ``grab serve`` does, in another way: ``python -m loadtest.bench.variant``.

Other options of Granian for the bench of the servers, instruments that count nothing for that of the metrics.  Settings
come from the environment as ever.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from granian import Granian
from granian.constants import RuntimeModes, TaskImpl
from starlette.types import ASGIApp, Scope, Send

from grab_service import serving, settings, settings_reader
from grab_service.api.app import create_app_from_environment
from grab_service.api.instruments import Instruments


def create_app_without_metrics() -> ASGIApp:
    """Return the application with instruments that count nothing."""

    def nothing(*_: Any) -> None:
        pass

    async def idle(*_: Any) -> None:
        await asyncio.Event().wait()

    def unwatched(_: Instruments, scope: Scope, send: Send, request_id: str) -> Send:  # noqa: ARG001  as the instruments'
        return send

    for name, replacement in {"claims": nothing, "stock_picture": nothing, "run": idle, "watched": unwatched}.items():
        if not hasattr(Instruments, name):
            raise AttributeError(f"the instruments have no {name}: this measurement must follow them")
        setattr(Instruments, name, replacement)
    return create_app_from_environment()


def main() -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="variant", description=__doc__)
    parser.add_argument("--runtime-mode", choices=("st", "mt"))
    parser.add_argument("--task-impl", choices=("asyncio", "rust"))
    parser.add_argument("--without-metrics", action="store_true")
    options = parser.parse_args()
    others: dict[str, Any] = {}
    if options.runtime_mode:
        others["runtime_mode"] = RuntimeModes(options.runtime_mode)
    if options.task_impl:
        others["task_impl"] = TaskImpl(options.task_impl)

    def granian(*given: Any, **named: Any) -> Any:
        return Granian(*given, **(named | others))

    with ExitStack() as stack:
        stack.enter_context(patch.object(serving, "Granian", granian))
        if options.without_metrics:
            factory = f"loadtest.bench.variant:{create_app_without_metrics.__name__}"
            stack.enter_context(patch.object(serving, "_FACTORY", factory))
        serving.serve(settings_reader.load(settings.SERVING))
    return 0


if __name__ == "__main__":
    sys.exit(main())
