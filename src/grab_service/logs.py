"""How processes log: one line an event on standard error, which the supervisor or systemd keeps.

Whatever is logged, no line holds a token, a password or a second line.
"""

from __future__ import annotations

import json
import logging.config
import re
from datetime import UTC, datetime
from typing import Any, Literal

LogFormat = Literal["text", "json"]

_HIDDEN = "***"
_SECRETS = re.compile(
    r"eyJ[\w-]+\.[\w-]+\.[\w-]+"  # JWTs
    r"|\bt1\.\d+\.\d*\.[\w-]+\.[\w-]+"  # tickets
    r"|\bt2\.[0-9a-f]+\.\d+\.\d*\.[\w-]+\.[0-9a-f]+"
    r"|(?<=://)[^\s/@]*:[^\s/@]+(?=@)"  # user and password of a URL
    r"|(?<=password=)[^\s&]+"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


def configuration(log_format: LogFormat = "text") -> dict[str, Any]:
    """Return the configuration of ``logging.config.dictConfig``, which ASGI servers take as well."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": f"{__name__}.{'JsonLine' if log_format == 'json' else 'TextLine'}"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
        "loggers": {},  # takes the place of those that an ASGI server brings along
        "root": {"handlers": ["stderr"], "level": "INFO"},
    }


def configure(log_format: LogFormat = "text") -> None:
    """Log from this process."""
    logging.config.dictConfig(configuration(log_format))


class TextLine(logging.Formatter):
    """A line for people; the traceback of an exception follows on lines of its own."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the name is logging's
        """Return the line without traceback."""
        if not hasattr(record, "members"):
            record.message = _CONTROL.sub(" ", record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        """Return everything that is written of an event; the facts of requests are ours and need no mask."""
        line = super().format(record)
        return line if hasattr(record, "members") else _SECRETS.sub(_HIDDEN, line)


class JsonLine(logging.Formatter):
    """A JSON object a line, for machines; a request's facts are members of it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return everything that is written of an event."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
        }
        members = getattr(record, "members", None)
        if members is None:
            line["message"] = _SECRETS.sub(_HIDDEN, record.getMessage())
        else:
            line |= members
        if record.exc_info:
            line["exception"] = _SECRETS.sub(_HIDDEN, self.formatException(record.exc_info))
        return _CONTROL.sub(" ", json.dumps(line, ensure_ascii=False, default=str))
