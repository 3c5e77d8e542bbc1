"""Reads a body of JSON so that it can mean one thing only, whoever reads it after us."""

from __future__ import annotations

import json
import math
from typing import Any

DEPTH_MAX = 16


class JsonRefused(ValueError):
    """A body is not JSON, or is JSON that two readers could understand differently."""


def read_json(body: bytes) -> Any:
    """Return what a body says; an empty one says an empty object.

    Raises:
        JsonRefused: It is not UTF-8 or not JSON, begins with a byte order mark, names a member twice, has a number
            that is none (NaN, Infinity, or too large to be held), half a surrogate pair, or nests too deeply.
    """
    if not body:
        return {}
    try:
        content = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_members_once,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except JsonRefused:
        raise
    except (ValueError, RecursionError) as error:
        raise JsonRefused("The body is not valid JSON.") from error
    _refuse_strange(content, DEPTH_MAX)
    return content


def _members_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise JsonRefused("The body names a member more than once.")
    return members


def _refuse_constant(name: str) -> Any:
    raise JsonRefused(f"{name} is no number of JSON.")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise JsonRefused("A number of the body is too large.")
    return number


def _refuse_strange(value: Any, depth_left: int) -> None:
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise JsonRefused("A text of the body holds half a surrogate pair.")
    elif isinstance(value, (dict, list)):
        if not depth_left:
            raise JsonRefused(f"The body nests deeper than {DEPTH_MAX}.")
        for part in value if isinstance(value, list) else (*value.keys(), *value.values()):
            _refuse_strange(part, depth_left - 1)
