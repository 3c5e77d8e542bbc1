"""The answers' shapes, for validation on the way out and for the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Instant = Annotated[str, Field(description="RFC 3339 with offset +08:00", examples=["2023-12-03T10:00:00.000+08:00"])]
Fen = Annotated[int, Field(ge=0, description="money in fen, a hundredth of a yuan")]


class Shape(BaseModel):
    """Base of every shape: what is not declared is refused."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)


ShapeT = TypeVar("ShapeT", bound=Shape)


class Voucher(Shape):
    """A voucher, as its owner sees it."""

    voucher_code: Annotated[str, Field(description="cannot be guessed; the same at every replay")]
    stock_id: str
    campaign_id: str
    round_id: str
    class_: Annotated[str, Field(alias="class")]
    tier: int
    claim_no: Annotated[int, Field(ge=1, description="1..quantity, unique in its stock")]
    state: Literal["ISSUED", "USED", "EXPIRED", "VOID"]
    claimed_at: Instant
    threshold_fen: Fen
    discount_fen: Fen
    available_until: Instant
    replayed: bool


class PendingClaim(Shape):
    """A claim that is reserved and on its way to the ledger; asking again gives the voucher."""

    state: Literal["PENDING"]
    stock_id: str


class PausedStock(Shape):
    """What was decided of a stock, by staff."""

    stock_id: str
    paused: bool
    paused_until: Annotated[Instant | None, Field(description="when a pause by one person ends by itself")]
    reason: str


class PendingVoucher(Shape):
    """A pending claim in a user's list."""

    stock_id: str
    campaign_id: str
    round_id: str
    class_: Annotated[str, Field(alias="class")]
    tier: int
    state: Literal["PENDING"]
    claimed_at: Instant
    threshold_fen: Fen
    discount_fen: Fen
    available_until: Instant


class VoucherList(Shape):
    """A user's vouchers."""

    data: list[Voucher | PendingVoucher]


class Ticket(Shape):
    """A ticket and when it ends."""

    ticket: str
    expires_at: Instant


class PresenceChallenge(Shape):
    """What a user has to solve before he gets a ticket."""

    kind: Annotated[Literal["none", "work"], Field(description="none: tickets are given without a proof")]
    challenge: Annotated[str, Field(description="empty if no proof is asked for")]
    bits: Annotated[int, Field(ge=0, le=32, description="zeros with which SHA-256(challenge, answer) must begin")]
    expires_at: Instant


class PresenceProof(Shape):
    """A challenge and its answer: a number in decimal digits."""

    challenge: Annotated[str, Field(max_length=200, pattern="^[!-~]*$")]
    answer: Annotated[str, Field(pattern="^[0-9]{1,20}$")]


class NewTicket(Shape):
    """What is shown for a ticket besides the token."""

    presence: PresenceProof | None = None


class ServerTime(Shape):
    """This server's clock."""

    server_time: Instant


class AuditHead(Shape):
    """The newest block of a chain."""

    journal: Annotated[str, Field(examples=["claims/qijiang-2023-r1-general-1"])]
    block_no: Annotated[int, Field(ge=1)]
    rows: Annotated[int, Field(ge=1, description="rows in all blocks of this chain")]
    hash: Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="covers every row up to here")]
    sealed_at: Instant


class AuditHeads(Shape):
    """The heads of all chains at one instant."""

    as_of: Instant
    journals: list[AuditHead]


class ClaimProof(Shape):
    """What proves that a claim stands in its stock's public list; whoever has it can show it as his."""

    format: Literal["grab-proof-1"]
    stock_id: str
    claim_no: Annotated[int, Field(ge=1)]
    block_no: Annotated[int | None, Field(description="null until the sealer has passed, some seconds")]
    line: Annotated[str, Field(description="as it stands in the public list")]
    opening: Annotated[str, Field(description="secret of the owner: it opens the line's last field")]


class StockFigures(Shape):
    """One stock in the polled picture; figures are null until the gate has answered for the first time."""

    stock_id: str
    campaign_id: str
    round_id: str
    class_: Annotated[str, Field(alias="class")]
    tier: int
    name: str
    threshold_fen: Fen
    discount_fen: Fen
    quantity: int
    claimed: int | None
    remaining: int | None
    booked: Annotated[int | None, Field(description="rows committed in the ledger")]
    state: Literal["SCHEDULED", "OPEN", "PAUSED", "SOLD_OUT", "ENDED", "RECOVERING"]
    opens_at: Instant
    sold_out_at: Instant | None


class StockPicture(Shape):
    """Every stock at one instant."""

    as_of: Instant
    server_time: Instant
    stocks: list[StockFigures]


class CampaignFacts(Shape):
    """A campaign: its document as it was loaded, and its stocks."""

    campaign_id: str
    document: dict[str, Any]
    stocks: list[dict[str, Any]]


class PublicMerchant(Shape):
    """An approved merchant, as everybody may see it."""

    merchant_no: Annotated[str, Field(description="UnionPay number, 15 digits", examples=["898500000000001"])]
    name: str
    address: str
    town: str
    category: str
    classes: Annotated[list[str], Field(description="classes of vouchers that it takes")]
    accepts: list[Literal["payment_code", "scan"]]


class MerchantPage(Shape):
    """A page of approved merchants."""

    data: list[PublicMerchant]
    next_cursor: Annotated[str | None, Field(description="the cursor of the next page; null at the last one")]


class SubmittedMerchant(Shape):
    """A merchant that was submitted."""

    merchant_no: str
    name: str
    address: str
    town: str
    category: str
    accepts: list[Literal["payment_code", "scan"]]
    state: Literal["SUBMITTED", "APPROVED", "REJECTED", "SUSPENDED"]
    submitted_at: Instant
    replayed: Annotated[bool, Field(description="whether this very submission is stored already")]


class Health(Shape):
    """The state of the service and of its parts."""

    status: Literal["pass", "warn", "fail"]
    checks: dict[str, dict[str, Any]]


RequestNo = Annotated[
    str,
    Field(pattern=r"^[0-9A-Za-z_-]{1,64}$", description="the caller's number of this request, never used for another"),
]
OrderFen = Annotated[int, Field(strict=True, gt=0, le=10**12, description="money in fen, a hundredth of a yuan")]


class NewRedemption(Shape):
    """A payment that a voucher is to be used for."""

    out_request_no: RequestNo
    voucher_code: Annotated[str, Field(min_length=1, max_length=64, description="as the user shows it")]
    merchant_no: Annotated[str, Field(pattern=r"^[0-9]{15}$", description="UnionPay number")]
    order_no: Annotated[str, Field(pattern=r"^[0-9A-Za-z._-]{1,64}$", description="one voucher an order")]
    order_amount_fen: OrderFen
    channel: Annotated[str, Field(pattern=r"^[a-z_]{1,32}$", examples=["payment_code"])]


class Redemption(Shape):
    """A voucher that was used."""

    redemption_id: str
    state: Literal["USED", "REVERSED"]
    campaign_id: str
    stock_id: str
    merchant_no: str
    order_no: str
    channel: str
    order_amount_fen: Fen
    discount_fen: Fen
    payable_fen: Annotated[Fen, Field(description="what the consumer pays")]
    redeemed_at: Instant
    replayed: bool


class RedemptionFacts(Shape):
    """A voucher that was used, and what became of it."""

    redemption_id: str
    state: Literal["USED", "REVERSED"]
    campaign_id: str
    stock_id: str
    merchant_no: str
    order_no: str
    channel: str
    order_amount_fen: Fen
    discount_fen: Fen
    payable_fen: Fen
    redeemed_at: Instant
    reversed_at: Instant | None
    refunded_fen: Fen
    discount_returned_fen: Fen


class NewReversal(Shape):
    """A payment that never completed; without a number of his own, the caller's request is known by the redemption."""

    out_request_no: RequestNo | None = None


class Reversal(Shape):
    """A redemption that was undone."""

    redemption_id: str
    state: Literal["REVERSED"]
    voucher_state: Literal["ISSUED", "EXPIRED"]
    discount_fen: Fen
    reversed_at: Instant
    replayed: bool


class NewRefund(Shape):
    """Goods that come back, at their price before the discount."""

    out_request_no: RequestNo
    redemption_id: Annotated[str, Field(pattern=r"^[0-9A-Za-z]{1,64}$")]
    refund_amount_fen: OrderFen


class Refund(Shape):
    """What a refund gave back to the fund."""

    refund_id: str
    redemption_id: str
    refund_amount_fen: Fen
    discount_returned_fen: Annotated[Fen, Field(description="the discount's share of these goods")]
    refunded_total_fen: Fen
    discount_returned_total_fen: Fen
    voucher_state: Literal["USED"]
    refunded_at: Instant
    replayed: bool


class BodyInvalid(Exception):
    """A body is not of its shape.

    Attributes:
        errors: What is wrong with which member.
    """

    def __init__(self, errors: list[dict[str, str]]) -> None:
        super().__init__("the body is not of its shape")
        self.errors = errors


def read_shape(shape: type[ShapeT], content: Any) -> ShapeT:
    """Read what a body of JSON says; no value is taken for one of another type.

    Raises:
        BodyInvalid: It is not of this shape.
    """
    try:
        return shape.model_validate(content, strict=True)
    except ValidationError as error:
        found = [(".".join(map(str, each["loc"])), each["msg"]) for each in error.errors(include_url=False)]
        raise BodyInvalid([{"field": field, "reason": reason} for field, reason in found]) from None


class ProblemDocument(BaseModel):
    """RFC 9457 problem; ``message`` is in Chinese or, by ``Accept-Language``, in English."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str
    message: str
    request_id: str
    server_time: Instant
