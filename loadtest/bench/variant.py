"""Serves the API as ``grab serve`` does, with other options of Granian: ``python -m loadtest.bench.variant``.

The bench of the servers starts it; settings come from the environment as ever.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any
from unittest.mock import patch

from granian import Granian
from granian.constants import RuntimeModes, TaskImpl

from grab_service import serving, settings, settings_reader


def main() -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="variant", description=__doc__)
    parser.add_argument("--runtime-mode", choices=("st", "mt"))
    parser.add_argument("--task-impl", choices=("asyncio", "rust"))
    options = parser.parse_args()
    others: dict[str, Any] = {}
    if options.runtime_mode:
        others["runtime_mode"] = RuntimeModes(options.runtime_mode)
    if options.task_impl:
        others["task_impl"] = TaskImpl(options.task_impl)

    def granian(*given: Any, **named: Any) -> Any:
        return Granian(*given, **(named | others))

    with patch.object(serving, "Granian", granian):
        serving.serve(settings_reader.load(settings.SERVING))
    return 0


if __name__ == "__main__":
    sys.exit(main())
