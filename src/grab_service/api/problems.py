"""The catalogue of refusals and failures: one place for status, code and words (RFC 9457).

Everything that answers with a problem takes it from here: the routes, the error handlers, the
OpenAPI document and its examples.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from grab_service import instants
from grab_service.api.ending import OF_CODE, Ending
from grab_service.api.reply import NO_STORE, PROBLEM_JSON, Reply

ENGLISH, CHINESE = "en", "zh-CN"
_BUSY_RETRY_S = (1, 3)  # spread, so that those who were turned away together do not come back together


class Code(Enum):
    """What can be wrong: HTTP status, title, message in Chinese, message in English."""

    PARAM_ERROR = (422, "Invalid request", "参数有误", "The request is not valid.")
    TOO_LARGE = (413, "Request too large", "请求内容过大", "The request is too large.")
    METHOD_NOT_ALLOWED = (405, "Method not allowed", "请求方法不支持", "This method is not supported here.")
    SIGN_ERROR = (401, "Not authenticated", "登录状态无效，请重新登录", "Your sign-in is not valid; sign in again.")
    FORBIDDEN = (403, "Not allowed", "无权进行此操作", "You are not allowed to do this.")
    PRESENCE_REQUIRED = (
        403,
        "Proof of presence required",
        "请先完成人机验证并换取抢券凭证",
        "A proof of presence is needed: solve a challenge for a ticket, and claim with the ticket.",
    )
    NOT_ELIGIBLE = (
        403,
        "Not eligible",
        "您不符合领取条件，请查看活动规则",
        "You are not eligible; please read the rules.",
    )
    RESOURCE_NOT_EXISTS = (404, "Not found", "活动或券不存在", "There is no such campaign, stock or voucher.")
    NOT_STARTED = (409, "Not started", "活动尚未开始，请稍后再来", "The round has not started yet.")
    SOLD_OUT = (409, "Sold out", "本场消费券已抢光", "All vouchers of this round are gone.")
    PAUSED = (409, "Paused", "活动暂停，请稍后再来", "The round is paused.")
    ENDED = (409, "Ended", "活动已结束", "The round has ended.")
    LIMIT_REACHED = (409, "Limit reached", "您已达到领取上限", "You have as many vouchers as one user may have.")
    MERCHANT_EXISTS = (409, "Merchant exists", "该商户编号已登记", "A merchant of this number is registered already.")
    VOUCHER_NOT_ISSUED = (409, "Not issued", "该券尚未被领取", "Nobody has claimed this voucher.")
    VOUCHER_USED = (409, "Already used", "该券已被使用", "This voucher has been used.")
    VOUCHER_VOID = (409, "Void", "该券已暂停使用或作废", "This voucher is held for review or void.")
    VOUCHER_EXPIRED = (409, "Expired", "该券已过有效期", "This voucher has expired.")
    BELOW_THRESHOLD = (409, "Below the threshold", "订单金额未达到用券门槛", "The order does not reach the threshold.")
    CATEGORY_NOT_ACCEPTED = (
        409,
        "Wrong category",
        "该商户类别不可使用此券",
        "This voucher is not for merchants of this category.",
    )
    CHANNEL_NOT_ACCEPTED = (
        409,
        "Wrong channel",
        "不支持该付款方式用券",
        "Vouchers cannot be used with this way to pay.",
    )
    ORDER_HAS_VOUCHER = (409, "One voucher an order", "单笔订单只可使用1张消费券", "This order has a voucher already.")
    MERCHANT_NOT_APPROVED = (403, "Merchant not approved", "该商户未通过审核或已停用", "This merchant is not approved.")
    TILL_LOCKED = (
        423,
        "Locked",
        "出示的无效券码过多，已锁定，请联系活动工作人员",
        "Too many unknown voucher codes were shown: locked until staff have looked.",
    )
    FUND_NOT_RECEIVED = (409, "Fund not received", "活动资金尚未到账", "The money for this voucher has not come yet.")
    REVERSAL_TOO_LATE = (409, "Too late to reverse", "已超过冲正时限", "The time for a reversal is over.")
    ALREADY_REVERSED = (409, "Already reversed", "该笔核销已冲正", "This redemption has been reversed.")
    ALREADY_REFUNDED = (409, "Already refunded", "该笔核销已有退款，不可冲正", "Goods of this order have come back.")
    ALREADY_SETTLED = (409, "Already settled", "该笔核销已结算，不可冲正", "This redemption has been settled.")
    REFUND_EXCEEDS_ORDER = (409, "Above the order", "退款累计金额超过订单金额", "The refunds would exceed the order.")
    REQUEST_NO_REUSED = (
        422,
        "Request number reused",
        "请求单号已用于不同内容",
        "This request number was used for something else.",
    )
    FREQUENCY_LIMIT_EXCEED = (429, "Too many requests", "操作太频繁，请稍后再试", "Too many requests; try again later.")
    SYSTEM_BUSY = (503, "Busy", "系统繁忙，请稍后再试", "The service is busy; please try again.")
    SYSTEM_ERROR = (500, "Internal error", "系统异常，请稍后再试", "Something went wrong; please try again.")

    def __init__(self, status: int, title: str, chinese: str, english: str) -> None:
        self.status = status
        self.title = title
        self.chinese = chinese
        self.english = english
        self.ending = int(OF_CODE.get(self.name, Ending.ERROR))

    @property
    def public_code(self) -> str:
        """The ``code`` of the answer: malformed requests of every kind are PARAM_ERROR to a program."""
        return "PARAM_ERROR" if self in (Code.TOO_LARGE, Code.METHOD_NOT_ALLOWED) else self.name


class Problem(Exception):
    """A refusal raised by an ordinary route, where a value cannot be returned."""

    def __init__(self, code: Code, detail: str | None = None, **extensions: Any) -> None:
        super().__init__(code.name)
        self.code = code
        self.detail = detail
        self.extensions = extensions


@lru_cache(maxsize=256)  # browsers send few different ones
def language_of(accept_language: bytes | None) -> str:
    """Choose between English and Chinese, which is the default, by ``Accept-Language``."""
    if not accept_language:
        return CHINESE
    best, best_quality = CHINESE, 0.0
    for part in accept_language[:200].decode("latin-1").split(","):
        tag, _, parameter = part.strip().partition(";")
        quality = _quality(parameter)
        language = {"en": ENGLISH, "zh": CHINESE, "*": CHINESE}.get(tag.split("-")[0].lower())
        if language is not None and quality > best_quality:
            best, best_quality = language, quality
    return best


def _quality(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if name != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def document(code: Code, request_id: str, language: str, detail: str | None, **extensions: Any) -> dict[str, Any]:
    """Return the problem document of ``code``."""
    return {
        "type": f"urn:grab-service:problem:{code.name.lower().replace('_', '-')}",
        "title": code.title,
        "status": code.status,
        "detail": detail or code.english,
        "code": code.public_code,
        "message": code.english if language == ENGLISH else code.chinese,
        "request_id": request_id,
        "server_time": instants.from_ms(time.time_ns() // 1_000_000),
        **extensions,
    }


class Form:
    """A problem document but for its request id and its time, and the headers that belong to it.

    Nearly every answer is a problem, and there are few that differ in more than these two members.

    Args:
        code: What is wrong.
        language: ``zh-CN`` or ``en``.
        detail: A sentence for developers; the English message if None.
        extensions: Further members of the document.
        ending: How it is counted if it answers a claim; None for what the code says.
    """

    __slots__ = ("_after", "_before", "_between", "_ending", "_headers", "_status", "_tells_wait")

    def __init__(
        self,
        code: Code,
        language: str,
        detail: str | None = None,
        extensions: Mapping[str, Any] = MappingProxyType({}),
        ending: Ending | None = None,
    ) -> None:
        whole = document(code, _REQUEST_ID, language, detail) | {"server_time": _SERVER_TIME, **extensions}
        text = json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()
        self._before, _, rest = text.partition(json.dumps(_REQUEST_ID)[1:-1].encode())
        self._between, _, self._after = rest.partition(json.dumps(_SERVER_TIME)[1:-1].encode())
        headers = [NO_STORE, (b"content-language", language.encode())]
        if code.status == Code.SIGN_ERROR.status:
            headers.append((b"www-authenticate", b"Bearer"))
        self._headers = tuple(headers)
        self._status = code.status
        self._ending = code.ending if ending is None else int(ending)
        self._tells_wait = code.status in (Code.FREQUENCY_LIMIT_EXCEED.status, Code.SYSTEM_BUSY.status)

    def filled_in(self, request_id: str, retry_after_s: int | None = None) -> Reply:
        """Return the answer to one request.

        Args:
            request_id: The id of the request.
            retry_after_s: Seconds after which asking again makes sense; 503 and 429 always say one.
        """
        server_time = instants.written(time.time_ns() // 1_000_000)
        body = b"%b%b%b%b%b" % (self._before, request_id.encode(), self._between, server_time, self._after)
        headers = self._headers
        if retry_after_s is None and self._tells_wait:
            retry_after_s = random.randint(*_BUSY_RETRY_S)  # noqa: S311  spreads load, hides nothing
        if retry_after_s is not None:
            headers = (*headers, (b"retry-after", b"%d" % retry_after_s))
        return Reply(self._status, body, PROBLEM_JSON, headers, self._ending)


_REQUEST_ID, _SERVER_TIME = "\u0001", "\u0002"
_FORMS_MAX = 1024


@lru_cache(maxsize=_FORMS_MAX)
def form(
    code: Code, language: str, detail: str | None = None, opens_at: str | None = None, ending: Ending | None = None
) -> Form:
    """Return the form of a problem, made once; ``opens_at`` is a further member if it is told."""
    return Form(code, language, detail, {} if opens_at is None else {"opens_at": opens_at}, ending)


def reply(
    code: Code,
    request_id: str,
    language: str,
    *,
    detail: str | None = None,
    retry_after_s: int | None = None,
    ending: Ending | None = None,
    **extensions: Any,
) -> Reply:
    """Return the answer for ``code``.

    Args:
        code: What is wrong.
        request_id: The id of the request.
        language: ``zh-CN`` or ``en``.
        detail: A sentence for developers; the English message if None.
        retry_after_s: Seconds after which asking again makes sense; 503 and 429 always say one.
        ending: How it is counted if it answers a claim; None for what the code says.
        extensions: Further members of the document.
    """
    if extensions.keys() <= {"opens_at"}:
        made = form(code, language, detail, extensions.get("opens_at"), ending)
    else:
        made = Form(code, language, detail, extensions, ending)
    return made.filled_in(request_id, retry_after_s)
