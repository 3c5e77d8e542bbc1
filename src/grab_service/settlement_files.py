"""The files of a settlement for the Commission and UnionPay: made of the frozen figures alone, so always the same."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from grab_service import instants
from grab_service.tables import Cell, csv_of, workbook_of, yuan
from ledger.comparison import Comparison, Difference, Verdict
from ledger.settlement import Amounts, Item, Line, Settlement

_AMOUNT_COLUMNS = (
    "上期结转（元）",
    "核销笔数",
    "核销金额（元）",
    "冲正笔数",
    "冲正金额（元）",
    "退款笔数",
    "退款退回（元）",
    "结算后退款笔数",
    "结算后追回（元）",
    "本期应付（元）",
    "结转下期（元）",
)
_SUMMARY_COLUMNS = ("商户编号", "商户名称", "镇街", "类别", *_AMOUNT_COLUMNS)
_DETAIL_COLUMNS = (
    "流水号",
    "时间",
    "类型",
    "商户编号",
    "商户名称",
    "券批次",
    "领取序号",
    "核销号",
    "订单号",
    "订单金额（元）",
    "退款号",
    "退货金额（元）",
    "结算金额（元）",
)
_DIFFERENCE_COLUMNS = ("商户编号", "订单号", "类型", "差异", "我方金额（元）", "对方金额（元）")
_VERDICTS = {
    Verdict.ONLY_OURS: "仅我方有",
    Verdict.ONLY_THEIRS: "仅对方有",
    Verdict.AMOUNT_DIFFERS: "金额不同",
}
_KINDS = {"REDEEM": "核销", "REVERSE": "冲正", "REFUND": "退款", "CLAW_BACK": "结算后退款"}


def files_of(settlement: Settlement, lines: Sequence[Line], items: Sequence[Item]) -> Mapping[str, bytes]:
    """Return the files by their names, the manifest last."""
    summary = _summary(settlement, lines)
    details = _details(items)
    frozen_at = settlement.frozen_at.astimezone(UTC)
    name = settlement.settlement_id
    files = {
        f"{name}-summary.xlsx": workbook_of("汇总", summary, frozen_at),
        f"{name}-summary.csv": csv_of(summary),
        f"{name}-details.xlsx": workbook_of("明细", details, frozen_at),
        f"{name}-details.csv": csv_of(details),
    }
    manifest = json.dumps(_manifest(settlement, files), ensure_ascii=False, indent=2) + "\n"
    return files | {f"{name}-manifest.json": manifest.encode()}


def differences_of(settlement: Settlement, comparison: Comparison, compared_at: datetime) -> Mapping[str, bytes]:
    """Return the files that tell how another side's list differs."""
    rows = [_DIFFERENCE_COLUMNS, *(_difference(each) for each in comparison.differences)]
    name = settlement.settlement_id
    return {
        f"{name}-differences.xlsx": workbook_of("差异", rows, compared_at.astimezone(UTC)),
        f"{name}-differences.csv": csv_of(rows),
    }


def write_files(directory: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write the files durably, the last one last: who sees it sees all of them, and of no earlier run."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / name for name in files]
    paths[-1].unlink(missing_ok=True)
    for path, content in zip(paths, files.values(), strict=True):
        part = directory / f".{path.name}.part"
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return paths


def _summary(settlement: Settlement, lines: Sequence[Line]) -> list[tuple[Cell, ...]]:
    rows = [(line.merchant_no, line.name, line.town, line.category, *_amounts(line)) for line in lines]
    return [_SUMMARY_COLUMNS, *rows, ("合计", None, None, None, *_amounts(settlement))]


def _amounts(amounts: Amounts) -> tuple[Cell, ...]:
    return (
        yuan(amounts.brought_fen),
        amounts.redeemed,
        yuan(amounts.redeemed_fen),
        amounts.reversed,
        yuan(-amounts.reversed_fen),
        amounts.refunded,
        yuan(-amounts.refunded_fen),
        amounts.clawed_back,
        yuan(-amounts.clawed_back_fen),
        yuan(amounts.paid_fen),
        yuan(amounts.carried_fen),
    )


def _details(items: Sequence[Item]) -> list[tuple[Cell, ...]]:
    return [_DETAIL_COLUMNS, *(_detail(item) for item in items)]


def _detail(item: Item) -> tuple[Cell, ...]:
    return (
        item.event_no,
        instants.from_datetime(item.at),
        _KINDS[item.kind],
        item.merchant_no,
        item.name,
        item.stock_id,
        item.claim_no,
        item.redemption_id,
        item.order_no,
        yuan(item.order_amount_fen),
        item.refund_id,
        None if item.refund_amount_fen is None else yuan(item.refund_amount_fen),
        yuan(item.amount_fen if item.kind == "REDEEM" else -item.amount_fen),
    )


def _difference(each: Difference) -> tuple[Cell, ...]:
    return (
        each.key.merchant_no,
        each.key.order_no,
        _KINDS[each.key.kind],
        _VERDICTS[each.verdict],
        None if each.ours_fen is None else yuan(each.ours_fen),
        None if each.theirs_fen is None else yuan(each.theirs_fen),
    )


def _manifest(settlement: Settlement, files: Mapping[str, bytes]) -> dict[str, Any]:
    """Return what is in the files; ``journals`` is as ``grab verify --head`` reads it."""
    return {
        "settlement_id": settlement.settlement_id,
        "campaign_id": settlement.campaign_id,
        "begins_at": settlement.begins_at and instants.from_datetime(settlement.begins_at),
        "until": instants.from_datetime(settlement.until),
        "frozen_at": instants.from_datetime(settlement.frozen_at),
        "merchants": settlement.merchants,
        "brought_fen": settlement.brought_fen,
        "redeemed_fen": settlement.redeemed_fen,
        "reversed_fen": settlement.reversed_fen,
        "refunded_fen": settlement.refunded_fen,
        "clawed_back_fen": settlement.clawed_back_fen,
        "net_fen": settlement.net_fen,
        "paid_fen": settlement.paid_fen,
        "carried_fen": settlement.carried_fen,
        "files": [
            {"name": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        ],
        "journals": json.loads(settlement.heads),
    }
