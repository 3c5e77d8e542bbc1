"""A full disk: errors instead of damage, and the sale goes on by itself when there is room again."""

from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.rehearsals import Rehearsal, grab
from tests.support.wait import wait_until

_SIZE = "160m"


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk that is soon full; only root may mount one."""
    path = Path(tempfile.mkdtemp(prefix="grab-disk-"))
    options = f"size={_SIZE},mode=755"
    mounted = subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", options, "none", path], check=False)
    if mounted.returncode:
        path.rmdir()
        pytest.skip("no small file system can be mounted here")
    yield path
    subprocess.run(["/bin/umount", "--lazy", path], check=True)
    path.rmdir()


def fill(disk: Path) -> Path:
    """Take all the room that is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        file.writelines(itertools.repeat(b"\0" * 65536))
    return filler


@pytest.mark.timeout(120)
async def test_a_full_disk_damages_nothing(small_disk: Path) -> None:
    """No false yes while it is full; afterwards every told winner has his voucher, and others win."""
    rehearsal = Rehearsal(small_disk / "up")
    try:
        await rehearsal.start("--opens-in", "0")
        early = rehearsal.token("early")
        before = (await rehearsal.claim_until_served(early)).json()
        tokens = {f"user-{number}": rehearsal.token(f"user-{number}") for number in range(4)}
        filler = fill(small_disk)
        told = {user: await rehearsal.try_to_claim(token) for user, token in tokens.items()}

        filler.unlink()

        assert (await rehearsal.claim_until_served(early)).json() == before | {"replayed": True}
        for user, token in tokens.items():
            after = (await rehearsal.claim_until_served(token)).json()
            answer = told[user]
            if answer is not None and answer.status_code in (200, 201):
                assert after["voucher_code"] == answer.json()["voucher_code"]
        await wait_until(rehearsal.is_ready, "the service is ready again", 30)
        assert grab("audit", "--data-dir", rehearsal.directory).returncode == 0
        assert rehearsal.stop() == 0
    finally:
        rehearsal.end()
        os.sync()
