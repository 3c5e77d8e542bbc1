"""How processes log: one line an event on standard error, which the supervisor or systemd keeps."""

from __future__ import annotations

import logging.config
from typing import Any


def configuration() -> dict[str, Any]:
    """Return the configuration of ``logging.config.dictConfig``, which ASGI servers take as well."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
        "loggers": {},  # takes the place of those that an ASGI server brings along
        "root": {"handlers": ["stderr"], "level": "INFO"},
    }


def configure() -> None:
    """Log from this process."""
    logging.config.dictConfig(configuration())
