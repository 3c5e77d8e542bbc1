"""``make bench-settlement``: how long it takes to freeze, write and pay 25,400 vouchers used at 2,000 merchants."""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from grab_service.campaign import Campaign, read_campaign
from grab_service.minting import mint
from grab_service.references import VoucherCodes
from grab_service.resources import default_campaign
from grab_service.settlement_files import files_of, write_files
from ledger import catalogue, expiry, merchants, money, settlement
from ledger.catalogue import StockRow
from ledger.merchant_facts import NewMerchant
from ledger.merchants import Verdict
from ledger.migrate import migrate
from ledger.redeem import Order, redeem_together
from ledger.requests import Answer
from ledger.vault_checks import vault_faults
from loadtest.bench.cpu import Cores
from loadtest.bench.processes import BenchImpossible, database, run_to_the_end
from loadtest.bench.sql import statement

_OUTPUT = Path("artefacts/bench-settlement.json")
_CODES = VoucherCodes(b"voucher key of the bench, 32 bytes")
_FIRST_MERCHANT = 898_500_000_000_000
_BATCH = 100  # uses that travel together
_CALLER = "bench"


async def bench(options: argparse.Namespace) -> dict[str, Any]:
    """Use every voucher of the real campaign, then settle, each step timed; seconds.

    Raises:
        BenchImpossible: A use was refused, what is paid is not what was used, or an invariant is violated.
    """
    directory = Path(tempfile.mkdtemp(prefix="grab-bench-"))
    directory.chmod(0o755)  # noqa: ASYNC240  once a run, so that PostgreSQL's own user can pass
    try:
        async with database(directory, Cores.of_this_machine().all) as (url, _):
            vault = await asyncpg.connect(url)
            try:
                return await _settle(vault, directory / "files", options.merchants)
            finally:
                await vault.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


async def _settle(vault: asyncpg.Connection, directory: Path, count: int) -> dict[str, Any]:
    await migrate(vault)
    campaign = read_campaign(default_campaign())
    campaign = campaign.shifted(datetime.now(UTC) - campaign.rounds[-1].opens_at - timedelta(hours=1))
    rows = await _sold(vault, campaign)
    numbers = await _approved_merchants(vault, campaign, count)
    figures: dict[str, Any] = {"merchants": count, "vouchers": sum(row.quantity for row in rows)}
    began_s = time.perf_counter()
    await _use(vault, campaign, numbers)
    figures["uses_per_s"] = figures["vouchers"] / (time.perf_counter() - began_s)

    began_s = time.perf_counter()
    frozen = await settlement.freeze(
        vault, campaign.campaign_id, datetime.now(UTC), subject="li", reason="bench", at=datetime.now(UTC)
    )
    figures["freeze_s"], began_s = time.perf_counter() - began_s, time.perf_counter()
    files = files_of(*await settlement.contents(vault, frozen.settlement_id))
    write_files(directory, files)
    figures["files_s"], began_s = time.perf_counter() - began_s, time.perf_counter()
    paid = await settlement.approve(vault, frozen.settlement_id, subject="wang", reason="bench")
    figures["approve_s"], began_s = time.perf_counter() - began_s, time.perf_counter()
    faults = await vault_faults(vault)
    figures["audit_s"] = time.perf_counter() - began_s
    if faults or (paid.paid_fen, paid.merchants) != (campaign.fund_fen, count):
        raise BenchImpossible(f"paid {paid.paid_fen} fen to {paid.merchants} merchants; {faults[:3]}")
    return figures | {"paid_fen": paid.paid_fen, "file_bytes": sum(map(len, files.values()))}


async def _sold(vault: asyncpg.Connection, campaign: Campaign) -> list[StockRow]:
    await catalogue.load_campaign(vault, mint(campaign, _CODES))
    rows = await catalogue.stock_rows(vault)
    opens = {round_.round_id: int(round_.opens_at.timestamp() * 1000) for round_ in campaign.rounds}
    for row in rows:
        first_ms = next(ms for round_id, ms in opens.items() if f"-{round_id}-" in row.stock_id) + 1
        await vault.execute(statement("insert_holders"), row.stock_no, 1, row.quantity, first_ms)
    await vault.execute(statement("begin_epoch"))
    await money.receive_fund(vault, money.rehearsed(campaign.campaign_id, campaign.fund_fen))
    for closed in await expiry.rounds_to_seal(vault):
        await expiry.seal_round(vault, closed.round_no)
    return rows


async def _approved_merchants(vault: asyncpg.Connection, campaign: Campaign, count: int) -> list[str]:
    categories = [each.merchant_categories[0] for each in campaign.classes]
    new = [
        NewMerchant(
            merchant_no=str(_FIRST_MERCHANT + number),
            name=f"商户{number}",
            address=f"{number}号",
            town=campaign.merchants.towns[number % len(campaign.merchants.towns)],
            category=categories[number % len(categories)],
            accepts=("payment_code",),
        )
        for number in range(count)
    ]
    async with vault.transaction():
        await merchants.submit(vault, new, actor=_CALLER, reason="bench")
    numbers = [merchant.merchant_no for merchant in new]
    refusals = await merchants.decide(vault, numbers, Verdict.APPROVE, actor=_CALLER, reason="bench")
    if refusals:
        raise BenchImpossible(f"merchants cannot be approved: {list(refusals.items())[:3]}")
    return numbers


async def _use(vault: asyncpg.Connection, campaign: Campaign, numbers: Sequence[str]) -> None:
    classes = [each.class_code for each in campaign.classes]
    orders: list[Order] = []
    for stock in campaign.stocks():
        shops = numbers[classes.index(stock.class_code) :: len(classes)]  # those of the class's category
        orders += (
            Order(
                code_hash=hashlib.sha256(_CODES.code(stock.stock_id, claim_no).encode()).digest(),
                merchant_no=shops[claim_no % len(shops)],
                order_no=f"{stock.stock_id}-{claim_no}",
                order_amount_fen=stock.threshold_fen + claim_no,
                channel="payment_code",
            )
            for claim_no in range(1, stock.quantity + 1)
        )
    for begin in range(0, len(orders), _BATCH):
        batch = [(order.request(_CALLER, order.order_no), order) for order in orders[begin : begin + _BATCH]]
        for outcome in await redeem_together(vault, batch):
            if not isinstance(outcome, Answer) or outcome.refusal is not None:
                raise BenchImpossible(f"a use was answered {outcome}")


def report(figures: dict[str, Any]) -> str:
    """Return what was measured, for people."""
    return (
        f"{figures['vouchers']:,} vouchers used at {figures['merchants']:,} merchants, {figures['uses_per_s']:,.0f}/s "
        f"over one connection\nfreeze {figures['freeze_s']:.2f} s, files {figures['files_s']:.2f} s "
        f"({figures['file_bytes'] / 1e6:.1f} MB), approve and pay {figures['approve_s']:.2f} s, "
        f"audit of the vault {figures['audit_s']:.2f} s, green"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench from the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="settlement", description="Measure a settlement of the whole campaign.")
    parser.add_argument("--merchants", type=int, default=2_000, help="at which vouchers are used (%(default)s)")
    parser.add_argument("--json", type=Path, default=_OUTPUT, metavar="FILE", help="the figures (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        figures = run_to_the_end(bench(options))
    except BenchImpossible as error:
        print(error, file=sys.stderr)
        return 2
    print(report(figures))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
