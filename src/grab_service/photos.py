"""Photos of shop fronts: checked by their content, and kept in files that are named after it.

What a sender says of a file is not believed.  Only the frame of an image is read here, never its
pixels: enough to refuse what is none, what is cut off and what would be huge when it is opened.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SIDE_PIXELS_MAX = 12_000
_SIDE_PIXELS_MIN = 16
_PNG = b"\x89PNG\r\n\x1a\n"
_SUFFIXES = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp"}
# Markers that begin a frame, with its size: SOF0..SOF15 without DHT, JPG and DAC.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_SCAN, _JPEG_END = 0xDA, b"\xff\xd9"
_JPEG_SEGMENTS_MAX = 1000  # before the scan; a photo has some dozens


class PhotoInvalid(Exception):
    """The bytes are no photo that is taken; the message goes on after "the photo"."""


@dataclass(frozen=True, slots=True)
class Image:
    """What the frame of an image says."""

    content_type: str
    width: int
    height: int


def examine(content: bytes) -> Image:
    """Return what kind of image it is, by its content.

    Raises:
        PhotoInvalid: It is no JPEG, PNG or WebP, it is damaged, or its sides are not within bounds.
    """
    try:
        image = _read_frame(content)
    except (struct.error, IndexError) as error:
        raise PhotoInvalid("is cut off") from error
    if not all(_SIDE_PIXELS_MIN <= side <= SIDE_PIXELS_MAX for side in (image.width, image.height)):
        raise PhotoInvalid(
            f"has {image.width} × {image.height} pixels; each side must have {_SIDE_PIXELS_MIN} to {SIDE_PIXELS_MAX}"
        )
    return image


def path_of(directory: Path, sha256: bytes, content_type: str) -> Path:
    """Return where a photo lies below the directory of photos."""
    name = sha256.hex()
    return directory / name[:2] / f"{name}{_SUFFIXES[content_type]}"


def name_of(content: bytes) -> bytes:
    """Return the name of a photo, the SHA-256 of its bytes."""
    return hashlib.sha256(content).digest()


def keep(directory: Path, content: bytes) -> Path:
    """Store a photo durably, whole or not at all; the same photo again changes nothing.

    Raises:
        PhotoInvalid: It is no photo.
        OSError: The directory cannot be written.
    """
    path = path_of(directory, name_of(content), examine(content).content_type)
    if path.exists():
        return path
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(f".{secrets.token_hex(4)}.new")
    try:
        with draft.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    for changed in (path.parent, directory):
        _sync_directory(changed)
    return path


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_frame(content: bytes) -> Image:
    readers: tuple[tuple[bool, Callable[[bytes], Image]], ...] = (
        (content.startswith(b"\xff\xd8\xff"), _read_jpeg),
        (content.startswith(_PNG), _read_png),
        (content[:4] == b"RIFF" and content[8:12] == b"WEBP", _read_webp),
    )
    for fits, read in readers:
        if fits:
            return read(content)
    raise PhotoInvalid("is neither a JPEG nor a PNG nor a WebP image")


def _read_png(content: bytes) -> Image:
    length, kind = struct.unpack_from(">I4s", content, len(_PNG))
    header = content[16:29]
    (checksum,) = struct.unpack_from(">I", content, 29)
    if (length, kind) != (13, b"IHDR") or zlib.crc32(kind + header) != checksum:
        raise PhotoInvalid("is a damaged PNG")
    if content.find(b"IEND", 33) < 0:
        raise PhotoInvalid("is cut off")
    width, height = struct.unpack_from(">II", header)
    return Image("image/png", width, height)


def _read_jpeg(content: bytes) -> Image:
    place, image = 2, None
    for _ in range(_JPEG_SEGMENTS_MAX):
        if content[place] != 0xFF:  # noqa: PLR2004  the byte that begins every marker
            break
        marker = content[place + 1]
        (length,) = struct.unpack_from(">H", content, place + 2)
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", content, place + 5)
            image = Image("image/jpeg", width, height)
        place += 2 + length
        if marker == _JPEG_SCAN and image is not None:
            # A thumbnail in a segment before this one has an end of its own, which does not count.
            if content.find(_JPEG_END, place) < 0:
                raise PhotoInvalid("is cut off")
            return image
    raise PhotoInvalid("is a damaged JPEG")


def _read_webp(content: bytes) -> Image:
    size, kind = struct.unpack_from("<I4x4s", content, 4)
    if size + 8 > len(content):
        raise PhotoInvalid("is cut off")
    if kind == b"VP8X":
        width, height = (int.from_bytes(content[at : at + 3], "little") + 1 for at in (24, 27))
    elif kind == b"VP8 " and content[23:26] == b"\x9d\x01\x2a":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", content, 26))
    elif kind == b"VP8L" and content[20] == 0x2F:  # noqa: PLR2004  its signature
        (bits,) = struct.unpack_from("<I", content, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        raise PhotoInvalid("is a damaged WebP")
    return Image("image/webp", width, height)
