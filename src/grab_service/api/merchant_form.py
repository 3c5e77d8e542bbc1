"""The form that a merchant joins with: read within bounds, as multipart or as JSON, before anything is believed."""

from __future__ import annotations

import asyncio
import base64
import binascii
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.types import Message, Receive

from grab_service.api.json_body import JsonRefused, read_json
from grab_service.api.problems import Code, Problem

TEXT_FIELDS = ("merchant_no", "name", "address", "town", "category")
_FIELDS = frozenset({*TEXT_FIELDS, "accepts", "photo"})
_FIELD_BYTES_MAX = 1024
_FIELDS_MAX = 16
_FRAME_BYTES_MAX = 32_768  # of the body, beside the photo
_UPLOAD_S = 60.0  # a caller that is slower is given up


def _schema(photo_format: str) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [*TEXT_FIELDS, "accepts", "photo"],
        "additionalProperties": False,
        "properties": {
            **{name: {"type": "string"} for name in TEXT_FIELDS},
            "merchant_no": {"type": "string", "pattern": "^[0-9]{15}$"},
            "accepts": {"type": "array", "items": {"type": "string", "enum": ["payment_code", "scan"]}},
            "photo": {"type": "string", "format": photo_format, "description": "shop front: JPEG, PNG or WebP"},
        },
    }


# For the OpenAPI document: the routes read the form by themselves, once they know who sends it.
REQUEST_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {"schema": _schema("binary")},
        "application/json": {"schema": _schema("byte")},
    },
}


@dataclass(frozen=True, slots=True)
class MerchantForm:
    """What was sent; fields that were not are empty."""

    texts: dict[str, str]
    accepts: list[str]
    photo: bytes


async def read_form(request: Request, content_type: bytes, photo_bytes_max: int) -> MerchantForm:
    """Read the form of a request.

    Args:
        request: Its body was not touched yet.
        content_type: Of the body: ``multipart/form-data``, or ``application/json`` with the photo in base64.
        photo_bytes_max: The largest photo that is taken.

    Raises:
        Problem: TOO_LARGE or PARAM_ERROR.
        starlette.exceptions.HTTPException: The multipart body is malformed.
    """
    kind = content_type.split(b";")[0].strip().lower()
    try:
        async with asyncio.timeout(_UPLOAD_S):
            if kind == b"multipart/form-data":
                form = await _read_multipart(request, photo_bytes_max + _FRAME_BYTES_MAX)
            elif kind == b"application/json":
                form = await _read_json(request, photo_bytes_max * 4 // 3 + _FRAME_BYTES_MAX)
            else:
                raise Problem(Code.PARAM_ERROR, "Send the form as multipart/form-data or application/json.")
    except TimeoutError as error:
        raise Problem(Code.PARAM_ERROR, f"The body did not arrive within {_UPLOAD_S:.0f} s.") from error
    if len(form.photo) > photo_bytes_max:
        raise Problem(Code.TOO_LARGE, f"The photo must not exceed {photo_bytes_max} bytes.")
    return form


async def _read_multipart(request: Request, body_bytes_max: int) -> MerchantForm:
    bounded = Request(request.scope, within(request.receive, body_bytes_max))
    async with bounded.form(max_files=1, max_fields=_FIELDS_MAX, max_part_size=_FIELD_BYTES_MAX) as form:
        _refuse(_misfits_of(form))
        texts = {name: str(form.get(name, "")) for name in TEXT_FIELDS}
        photo = form.get("photo")
        content = await photo.read() if isinstance(photo, UploadFile) else b""
        ways = [way for value in form.getlist("accepts") for way in str(value).split(",")]
        return MerchantForm(texts, ways, content)


def _misfits_of(form: FormData) -> dict[str, str]:
    misfits = dict.fromkeys(form.keys() - _FIELDS, "is not a field of this form")
    for name in sorted(form.keys() & _FIELDS):
        values = form.getlist(name)
        if len(values) > 1 and name != "accepts":
            misfits[name] = "was sent more than once"
        elif any(isinstance(value, UploadFile) != (name == "photo") for value in values):
            misfits[name] = "must be sent as a file" if name == "photo" else "must be sent as text"
    return misfits


async def _read_json(request: Request, body_bytes_max: int) -> MerchantForm:
    bounded = Request(request.scope, within(request.receive, body_bytes_max))
    try:
        document = read_json(await bounded.body())
    except JsonRefused as error:
        raise Problem(Code.PARAM_ERROR, str(error)) from error
    if not isinstance(document, dict):
        raise Problem(Code.PARAM_ERROR, "The body must be a JSON object.")
    misfits = dict.fromkeys(document.keys() - _FIELDS, "is not a field of this form")
    for name in sorted(document.keys() & _FIELDS - {"accepts"}):
        if not isinstance(document[name], str):
            misfits[name] = "must be a string"
    ways = document.get("accepts", [])
    if not isinstance(ways, list) or not all(isinstance(way, str) for way in ways):
        misfits["accepts"] = "must be an array of strings"
    _refuse(misfits)
    try:
        photo = base64.b64decode(document.get("photo", ""), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _invalid({"photo": "is not base64"}) from error
    return MerchantForm({name: document.get(name, "") for name in TEXT_FIELDS}, ways, photo)


def _refuse(misfits: dict[str, str]) -> None:
    if misfits:
        raise _invalid(misfits)


def _invalid(misfits: dict[str, str]) -> Problem:
    errors = [{"field": name, "reason": reason} for name, reason in misfits.items()]
    return Problem(Code.PARAM_ERROR, errors=errors)


def within(receive: Receive, body_bytes_max: int) -> Receive:
    """Return ``receive`` with an end: more bytes than allowed are refused when they come, whatever was announced."""
    left = body_bytes_max

    async def receive_within() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise Problem(Code.TOO_LARGE, f"The body must not exceed {body_bytes_max} bytes.")
        return message

    return receive_within
