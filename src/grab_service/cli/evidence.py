"""Commands by which anyone can check: seal the journals, verify the chains, give out certificates."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from grab_service.certificates import CertificateKey
from grab_service.cli.options import (
    DataDirOption,
    JsonOption,
    Refused,
    StockId,
    chosen_settings,
    say,
    say_json,
    say_table,
)
from grab_service.keyring import read_user_refs
from grab_service.settings import Settings
from grab_service.stores import open_vault
from ledger import certificate as certificates
from ledger.certificate import Evidence, NothingToCertify
from ledger.chain import Anchor, ChainReport, check_chains
from ledger.seal import NewBlock, seal_now

_HASH_LETTERS = 12  # of a hash in a table


def seal(*, directory: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Put into blocks what is in none yet, as the worker does every few seconds; safe at any time."""
    blocks = asyncio.run(_seal(chosen_settings(directory, ["database_url"])))
    if as_json:
        say_json(
            {
                "blocks": [
                    {"journal": each.journal, "block_no": each.block_no, "rows": each.rows, "hash": each.hash}
                    for each in blocks
                ]
            }
        )
        return
    for each in blocks:
        say(f"{each.journal} block {each.block_no}: {each.rows} rows, {each.hash}")
    if not blocks:
        say("everything is in a block")


def verify(
    *,
    head: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What /v1/audit/head said once; the chains must still have it."),
    ] = None,
    directory: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Recompute every chain from its rows and name the blocks that differ; 0 none does, 1 one does."""
    anchors = [] if head is None else _read_anchors(head)
    reports = asyncio.run(_check(chosen_settings(directory, ["database_url"]), anchors))
    faults = [fault for report in reports for fault in report.faults]
    if as_json:
        say_json({"ok": not faults, "journals": [_to_json(report) for report in reports]})
    else:
        say_table(
            [
                ("journal", "holds", "blocks", "rows", "in no block", "head"),
                *(
                    (
                        each.journal,
                        "NO" if each.faults else "yes",
                        each.blocks,
                        each.rows,
                        each.unsealed,
                        each.head[:_HASH_LETTERS],
                    )
                    for each in reports
                ),
            ]
        )
        for fault in faults:
            say(str(fault))
    if faults:
        raise typer.Exit(1)


def certificate(
    stock_id: StockId,
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the files go.")] = Path(),
    proof_of: Annotated[
        Path | None,
        typer.Option(
            "--proof-of",
            metavar="FILE",
            allow_dash=True,
            help="Write the proof of a user's claim too, for him alone; his id is in FILE, - for standard input.",
        ),
    ] = None,
    directory: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a stock's signed certificate and the public list of its claims, which names no user."""
    chosen = chosen_settings(directory, ["database_url", "certificate_key_file"])
    key = CertificateKey.read(chosen.certificate_key_file)
    user_refs: tuple[str, ...] = ()
    if proof_of is not None:
        # Never among the arguments, which every user of the machine can read.
        user = sys.stdin.read() if str(proof_of) == "-" else proof_of.read_text(encoding="utf-8")
        user_refs = read_user_refs(chosen).all_of(user.strip())
    try:
        evidence, claim_no = asyncio.run(_evidence(chosen, stock_id, user_refs))
    except NothingToCertify as error:
        raise Refused(str(error)) from error
    if proof_of is not None and claim_no is None:
        raise Refused(f"this user has no claim of {stock_id}")
    out.mkdir(parents=True, exist_ok=True)
    files = {
        "certificate": (out / f"{stock_id}.certificate.json", _pretty(key.sign(evidence.statement))),
        "list": (out / f"{stock_id}.claims.tsv", "".join(f"{line}\n" for line in evidence.lines)),
    }
    if claim_no is not None:
        files["proof"] = (out / f"{stock_id}.{claim_no}.proof.json", _pretty(evidence.proof(claim_no)))
    for path, text in files.values():
        path.write_bytes(text.encode())
    if as_json:
        say_json({name: str(path) for name, (path, _) in files.items()} | {"public_key": key.public_key})
        return
    said = evidence.statement
    say(f"{stock_id}: {said['claims']} claims of {said['quantity']}, {'final' if said['is_final'] else 'so far'}")
    for path, _ in files.values():
        say(str(path))
    say(f"signed with {key.public_key}")


def _read_anchors(path: Path) -> list[Anchor]:
    try:
        published = json.loads(path.read_bytes())["journals"]
        return [Anchor(each["journal"], each["block_no"], each["hash"]) for each in published if each["block_no"]]
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(f"{path} is not what /v1/audit/head says") from error


def _to_json(report: ChainReport) -> dict[str, Any]:
    return {
        "journal": report.journal,
        "ok": not report.faults,
        "blocks": report.blocks,
        "rows": report.rows,
        "unsealed": report.unsealed,
        "head": report.head,
        "faults": [{"block_no": each.block_no, "detail": each.sentence} for each in report.faults],
    }


def _pretty(value: object) -> str:
    return json.dumps(value, indent=1) + "\n"


async def _seal(chosen: Settings) -> list[NewBlock]:
    async with open_vault(chosen) as vault:
        return await seal_now(vault)


async def _check(chosen: Settings, anchors: list[Anchor]) -> list[ChainReport]:
    async with open_vault(chosen) as vault:
        return await check_chains(vault, anchors)


async def _evidence(chosen: Settings, stock_id: str, user_refs: Sequence[str]) -> tuple[Evidence, int | None]:
    async with open_vault(chosen) as vault:
        rows = [
            await certificates.own_row(vault, stock_id, each) for each in user_refs
        ]  # one is of the stock's campaign
        row = next(filter(None, rows), None)
        await seal_now(vault)
        return await certificates.evidence_of(vault, stock_id), row.row_no if row else None
