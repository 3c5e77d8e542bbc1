"""Photos: told from other files by their content, and kept under their own name."""

from __future__ import annotations

import contextlib
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grab_service import photos
from grab_service.photos import Image, PhotoInvalid
from tests.support.photos import JPEG, PNG, WEBP_LOSSLESS, WEBP_LOSSY, WEBP_WITH_ALPHA

ALL = (JPEG, PNG, WEBP_LOSSY, WEBP_LOSSLESS, WEBP_WITH_ALPHA)


def png_of(width: int, height: int) -> bytes:
    """Return the frame of a PNG."""
    header = b"IHDR" + struct.pack(">II5B", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + PNG[33:]


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (JPEG, "image/jpeg"),
        (PNG, "image/png"),
        (WEBP_LOSSY, "image/webp"),
        (WEBP_LOSSLESS, "image/webp"),
        (WEBP_WITH_ALPHA, "image/webp"),
    ],
)
def test_an_image_is_known_by_its_content(content: bytes, content_type: str) -> None:
    """Kind and size are read from its frame; what a phone appends does no harm."""
    assert photos.examine(content) == Image(content_type, 24, 16)
    assert photos.examine(content + b"appended") == Image(content_type, 24, 16)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GIF89a" + bytes(100),
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        b"<!DOCTYPE html><script>alert(1)</script>",
        b"MZ" + bytes(200),
        b"\xff\xd8\xff" + bytes(200),
        b"\xff\xd8" + b"\xff" * 5000,
        b"\x89PNG\r\n\x1a\n" + bytes(200),
        b"RIFF\x10\x00\x00\x00WEBPVP9 " + bytes(100),
        PNG[:29] + bytes(4) + PNG[33:],
        JPEG.replace(b"\xff\xd9", b""),
        WEBP_LOSSY[:-4],
    ],
)
def test_what_is_no_photo_is_refused(content: bytes) -> None:
    """Another kind of file, a damaged one or one that is cut off, whatever its name says."""
    with pytest.raises(PhotoInvalid):
        photos.examine(content)


@pytest.mark.parametrize(("width", "height"), [(0, 100), (100, 0), (15, 100), (12_001, 100), (2**31, 2**31)])
def test_sides_beyond_bounds_are_refused(width: int, height: int) -> None:
    """Nobody can submit an image that fills the memory of whoever opens it."""
    with pytest.raises(PhotoInvalid, match="pixels"):
        photos.examine(png_of(width, height))


def test_sides_at_the_bounds_are_taken() -> None:
    """The bounds themselves are good."""
    assert photos.examine(png_of(16, 12_000)) == Image("image/png", 16, 12_000)


@given(st.sampled_from(ALL), st.data())
def test_damage_is_refused_or_harmless(content: bytes, data: st.DataObject) -> None:
    """A cut or a changed byte never raises anything but the refusal."""
    end = data.draw(st.integers(0, len(content)))
    damaged = bytearray(content[:end])
    if damaged:
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(PhotoInvalid):
        photos.examine(bytes(damaged))


def test_a_photo_is_kept_under_its_own_name(tmp_path: Path) -> None:
    """The same photo is kept once; only its owner can read it."""
    directory = tmp_path / "photos"
    path = photos.keep(directory, JPEG)
    assert path == photos.path_of(directory, photos.name_of(JPEG), "image/jpeg")
    assert path.read_bytes() == JPEG
    assert photos.keep(directory, JPEG) == path
    assert photos.keep(directory, PNG) != path
    assert sorted(each.suffix for each in directory.rglob("*.*")) == [".jpg", ".png"]
    assert path.parent.stat().st_mode & 0o777 == 0o700
