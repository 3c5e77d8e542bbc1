"""``make bench-redemptions``: how many vouchers of one stock the tills can use in a second, and how long each takes.

All vouchers are of one stock, the hardest case: each use changes the same balance.  Merchants and orders differ.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grab_service import keyring
from grab_service.references import VoucherCodes
from grab_service.rehearsal import RehearsalKeys
from grab_service.settings import Settings
from grab_service.settings_reader import read
from loadtest.bench.cpu import Cores
from loadtest.bench.ours import OPEN, Ours, run_ours
from loadtest.bench.processes import BenchImpossible, Load, measure, run_to_the_end

SERVER: str = Settings.model_fields["server"].default
_OUTPUT = Path("artefacts/bench-redemptions.json")
_REGION = "500110"
_FIRST_MERCHANT = 898_500_000_000_000
_ORDER_FEN = 12_300
_MOST_S = 60.0


async def bench(options: argparse.Namespace) -> dict[str, Any]:
    """Sell a stock, use its vouchers, and audit.

    Raises:
        BenchImpossible: Something was answered otherwise than it should be, or the audit is red.
    """
    directory = Path(tempfile.mkdtemp(prefix="grab-bench-"))
    directory.chmod(0o755)  # noqa: ASYNC240  once a run, so that PostgreSQL's own user can pass
    won = options.vouchers + options.warm_up
    try:
        async with run_ours(
            directory, Cores.of_this_machine(), server=options.server, workers=options.workers, won=won, tag="bench"
        ) as service:
            service.let_run_anywhere()
            await _import_merchants(service, directory, options.merchants)
            sold = await service.claims(OPEN, count=won, connections=128, warm_up=0, seconds=_MOST_S)
            _expect_created(sold, won)
            load = Load(_requests(service, won, options.merchants), options.connections, options.warm_up, _MOST_S)
            figures = await measure(load, service.port, service.cores.all, service.parts())
            _expect_created(figures, options.vouchers)
            verdict = await service.audit()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if not verdict.get("ok"):
        red = [each.get("id") for each in verdict.get("invariants", []) if not each.get("ok")]
        raise BenchImpossible(f"the audit is red: {red}")
    return figures | {"connections": options.connections}


async def _import_merchants(service: Ours, directory: Path, count: int) -> None:
    path = directory / "merchants.csv"
    rows = [f"{_FIRST_MERCHANT + number},商户{number},{number}号,bench,bench,payment_code" for number in range(count)]
    text = "\n".join(["merchant_no,name,address,town,category,accepts", *rows])
    path.write_text(text, encoding="utf-8")
    argv = [sys.executable, "-m", "grab_service", "merchants", "import", str(path), "--approve", "--reason", "bench"]
    argv += ["--actor", "bench", "--data-dir", str(service.data.root)]
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise BenchImpossible(f"the merchants could not be imported: {output.decode(errors='replace')}")


def _requests(service: Ours, count: int, merchants: int) -> list[bytes]:
    """Return a use of each voucher, in no order, each at one of the merchants."""
    settings = read(file=service.data.settings_file).settings
    sign = RehearsalKeys(service.data.keys).signer(
        issuer=settings.jwt_issuer, audience=settings.jwt_audience, now_s=int(time.time())
    )
    token = sign("till", _REGION, "merchant:redeem")
    codes = VoucherCodes(keyring.load(settings).voucher_key)
    numbers = list(range(1, count + 1))
    chance = random.Random(1)
    chance.shuffle(numbers)
    return [
        _request(token, codes.code(OPEN, number), number, _FIRST_MERCHANT + chance.randrange(merchants))
        for number in numbers
    ]


def _request(token: str, code: str, number: int, merchant_no: int) -> bytes:
    body = json.dumps(
        {
            "out_request_no": f"request-{number}",
            "voucher_code": code,
            "merchant_no": str(merchant_no),
            "order_no": f"order-{number}",
            "order_amount_fen": _ORDER_FEN,
            "channel": "payment_code",
        }
    ).encode()
    head = (
        f"POST /v1/redemptions HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _expect_created(figures: dict[str, Any], count: int) -> None:
    if figures["statuses"] != {"201": count}:
        raise BenchImpossible(f"the answers were {figures['statuses']}, not {count} times 201")


def report(figures: dict[str, Any]) -> str:
    """Return what was measured, for people."""
    latency, cpu = figures["latency_ms"], figures["cpu_us"]
    return (
        f"{figures['per_s']:,.0f} redemptions/s of one stock over HTTP; {figures['answers']:,} in"
        f" {figures['seconds']:.1f} s, each 201, audit green\n"
        f"latency ms: p50 {latency['p50']:.1f}, p99 {latency['p99']:.1f}, with"
        f" {figures['connections']} connections kept busy\n"
        f"CPU µs a redemption: API {cpu['server']:.0f}, PostgreSQL {cpu['vault']:.0f}"
    )


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of a command line."""
    parser = argparse.ArgumentParser(prog="redemptions", description="Measure the use of vouchers.")
    parser.add_argument("--vouchers", type=int, default=20_000, help="to use (%(default)s)")
    parser.add_argument("--merchants", type=int, default=200, help="at which (%(default)s)")
    parser.add_argument("--connections", type=int, default=128, help="kept busy (%(default)s)")
    parser.add_argument("--warm-up", type=int, default=1_000, help="uses before the measurement (%(default)s)")
    parser.add_argument("--server", choices=("uvicorn", "granian"), default=SERVER, help="(%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes of the API (%(default)s)")
    parser.add_argument("--json", type=Path, default=_OUTPUT, metavar="FILE", help="the figures (%(default)s)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench from the command line; return the exit code."""
    options = options_of(arguments)
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
