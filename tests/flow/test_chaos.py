"""The short form of ``make chaos``: half a minute of faults of every kind, over real processes."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(300)
async def test_a_round_is_sold_and_proved_while_parts_die(tmp_path: Path) -> None:
    """Killed, frozen, cut off and lied to: each voucher sold once, each yes kept, the checker and the audit content."""
    report = tmp_path / "report.json"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtest.chaos", "--seed", "2", "--minutes", "0.6", "--json", str(report)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    told = json.loads(report.read_text())
    assert told["ok"]
    assert sum(told["kills"].values()) >= 2
    assert set(told["sold"].values()) == {told["quantity"]}
