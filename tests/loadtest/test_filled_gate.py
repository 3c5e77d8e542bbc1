"""The bench's gate of many sizes, on a Valkey of its own: loading the library closes every stock."""

from __future__ import annotations

import os
from pathlib import Path

from loadtest.bench.filled_gate import BLOCK, FilledGate

from tests.support.own_gate import OwnGate


async def test_a_filled_gate_grants_to_new_users_of_each_stock_in_turn(tmp_path: Path) -> None:
    """Every holder that was made up is there, claims win, repeats are told of their voucher."""
    gate = OwnGate(tmp_path)
    await gate.start()
    try:
        filled = FilledGate(gate.client, os.getpid(), 2)
        await filled.fill([10, 2_500])
        for number in range(2):
            await filled.turn(number)
        found = await filled.figures()
        assert [each["holders"] for each in found] == [10, 2_500]
        assert all(len(each["claims_us"]) == 1 for each in found)
        assert await filled.looks_us(3) >= 0
        held = [await gate.client.hlen(each.stock.keys.holders) for each in filled.stocks]
        assert held == [10 + 2 * BLOCK, 2_500 + 2 * BLOCK]
        assert await filled.no_us(filled.stocks[0], 256) >= 0
    finally:
        await gate.client.aclose()
        gate.kill()
