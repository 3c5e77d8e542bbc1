"""The short form of ``make chaos``: half a minute, in which the parts are killed one after the other in a rush."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

_SEED = "1287"  # of a schedule that begins with a kill of each part


@pytest.mark.timeout(300)
async def test_a_round_is_sold_and_proved_while_parts_die(tmp_path: Path) -> None:
    """Each voucher is sold once, each yes is kept, checker and audit are content, and it is told how long it took."""
    report = tmp_path / "report.json"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtest.chaos", "--seed", _SEED, "--minutes", "0.5", "--json", str(report)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    told = json.loads(report.read_text())
    assert told["ok"]
    assert sum(told["kills"].values()) >= 1
    assert told["back_s"]
    assert set(told["sold"].values()) == {told["quantity"]}
