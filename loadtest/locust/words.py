"""The words of the report in Chinese: invariants by their id, rows by who asked for what, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping

from loadtest.locust.figures import INTENDED

INVARIANTS: Mapping[str, str] = {
    "I-1": "不超发：领取数不多于券数，券数等于发放数量",
    "I-2": "一券一主：每张券至多一位持有人",
    "I-3": "一人一券：无人超过领取上限",
    "I-5": "无幽灵：流中每条记录有其持有人，每位持有人有其记录",
    "I-7": "时段：开抢前、结束后没有领取",
    "I-9": "无滞留：没有死信，没有长时间在途",
    "I-10": "券的一生：每一步都接着上一步",
    "I-11": "资金：每个事件恰好移动应有金额，余额等于移动之和",
    "I-12": "资金池：预留、应付、已付与券、核销、结算一致",
    "I-13": "栅栏：没有其他纪元的领取，闸口与账本同一纪元",
    "I-14": "一致：闸口的持有人就是账本的持有人",
    "I-14n": "号码：空闲与已领合为 1..数量，各一次",
    "I-16": "幂等：已答复的请求只生效一次，被拒的不生效",
    "I-17": "过期：过期券未被使用，未用的券过期一次",
    "I-18": "结算：每个事件只在本商户的一次结算里，按结算行付款一次",
}
OUTCOMES: Mapping[str, str] = {
    "WON": "成功",
    "SOLD_OUT": "抢光",
    "REPEATED": "重复，结果相同",
    "NOT_STARTED": "未开始",
    "FREQUENCY_LIMIT_EXCEED": "限流 429",
    "PENDING": "处理中",
    "SYSTEM_BUSY": "系统繁忙 503",
    "BROKEN": "断线或超时",
    "LIMIT_REACHED": "已达上限",
    "ENDED": "已结束",
    "PAUSED": "已暂停",
}
_ROWS: Mapping[str, str] = {
    "ask the time": "校准时间",
    "look at the stocks": "进入页面看库存",
    "look for merchants": "找商户",
    "poll": "轮询库存",
    "poll unchanged": "轮询库存，无变化 304",
    "claim": "抢券",
    "claim again": "重复抢券",
    "bot": "机器人抢券",
    "redeem": "核销",
    "redeem again": "重复核销",
    "reverse": "冲正",
    "refund": "退款",
    "same voucher again": "核对：重复抢券得到同一张券",
    "same redemption again": "核对：重复核销是同一笔",
    "bot has one voucher at most": "核对：机器人至多一张券",
}


def of_invariant(invariant: str, name: str) -> str:
    """Return what an invariant says; its own name if it is not known here."""
    return INVARIANTS.get(invariant, name)


def of_row(name: str) -> str:
    """Return what a row of the figures counts; its own name where it is not known here."""
    kind, is_intended = name.removesuffix(f" {INTENDED}"), name.endswith(INTENDED)
    if kind not in _ROWS:
        kind, _, outcome = kind.rpartition(" ")
        if kind not in _ROWS:
            return name
        told = f"{_ROWS[kind]}：{OUTCOMES.get(outcome, outcome)}"
    else:
        told = _ROWS[kind]
        told = f"{told}：全部" if is_intended else told
    return f"{told}（从应按下算起）" if is_intended else told
