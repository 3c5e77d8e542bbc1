"""The pages that browsers load: for citizens at ``/``, for the command room at ``/ops``.

They are read into memory once and never asked of a disk again.  A page names its parts below a
folder that is called by a digest of all of them, so that browsers and caches may keep the parts for
ever while the page itself is asked for anew each time.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath

from fastapi import APIRouter, Request, Response

from grab_service import resources
from grab_service.api.problems import Code, Problem

router = APIRouter(include_in_schema=False)

_FOLDERS = ("activity", "ops", "vendor/uplot")
_VERSION = b"/pages/VERSION/"
_REVALIDATED, _FOR_EVER = "no-cache", "public, max-age=31536000, immutable"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_GET = ["GET", "HEAD"]


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    zipped: bytes
    content_type: str
    etag: str


@dataclass(frozen=True, slots=True)
class _Files:
    version: str
    by_name: dict[str, _File]


@router.api_route("/", methods=_GET)
async def show_activity(request: Request) -> Response:
    """Show the page on which citizens claim vouchers."""
    return _answer(request, "activity/index.html", _REVALIDATED)


@router.api_route("/ops", methods=_GET)
async def show_operations(request: Request) -> Response:
    """Show the page that the command room watches."""
    return _answer(request, "ops/index.html", _REVALIDATED)


@router.api_route("/pages/{version}/{name:path}", methods=_GET)
async def get_part(request: Request, version: str, name: str) -> Response:
    """Serve a part of a page; one of another version is served as it is now, and not kept."""
    return _answer(request, name, _FOR_EVER if version == _files().version else _REVALIDATED)


def _answer(request: Request, name: str, caching: str) -> Response:
    file = _files().by_name.get(name)
    if file is None:
        raise Problem(Code.RESOURCE_NOT_EXISTS, "There is no such page.")
    headers = {
        "Cache-Control": caching,
        "Content-Security-Policy": _POLICY,
        "ETag": file.etag,
        "Referrer-Policy": "no-referrer",
        "Vary": "Accept-Encoding",
    }
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(file.zipped, headers={**headers, "Content-Encoding": "gzip"}, media_type=file.content_type)
    return Response(file.body, headers=headers, media_type=file.content_type)


@cache
def _files() -> _Files:
    root = resources.page(".")
    bodies = {
        str(PurePosixPath(path.relative_to(root))): path.read_bytes()
        for folder in _FOLDERS
        for path in sorted((root / folder).iterdir())
        if path.is_file()
    }
    version = hashlib.sha256(b"".join(name.encode() + b"\0" + body for name, body in bodies.items())).hexdigest()[:12]
    own_folder = f"/pages/{version}/".encode()
    return _Files(version, {name: _file(name, body.replace(_VERSION, own_folder)) for name, body in bodies.items()})


def _file(name: str, body: bytes) -> _File:
    kind = mimetypes.guess_type(name)[0] or "text/plain"
    return _File(
        body=body,
        zipped=gzip.compress(body, mtime=0),
        content_type="text/javascript" if kind.endswith("javascript") else kind,
        # Weak: plain and compressed are the same page in different bytes.
        etag=f'W/"{hashlib.sha256(body).hexdigest()[:16]}"',
    )
