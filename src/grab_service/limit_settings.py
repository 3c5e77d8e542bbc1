"""Settings against abuse: how often one may ask, whose word about addresses is believed, what is noticed for review."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, Field, field_validator
from pydantic_core import PydanticCustomError

from grab_service.addresses import Proxies


@dataclass(frozen=True, slots=True)
class Unit:
    """The unit of a setting's value, for those who read the list."""

    name: str


class LimitSettings(BaseModel):
    """The part of the settings that is about abuse."""

    unknown_codes_max: Annotated[
        int,
        Unit("codes/min"),
        Field(ge=1, le=1_000_000, description="Unknown voucher codes that one caller may show a process, a merchant."),
    ] = 60
    unknown_codes_day_max: Annotated[
        int,
        Unit("codes/day"),
        Field(ge=1, le=1_000_000, description="So many within a day, over all processes, lock the caller there."),
    ] = 200
    user_rate_max: Annotated[
        int,
        Unit("claims/s"),
        Field(
            ge=1,
            le=1_000_000,
            description="Claims of one user that a process answers; within seconds also all processes together.",
        ),
    ] = 20
    verify_rate_max: Annotated[
        int,
        Unit("checks/s"),
        Field(ge=1, le=1_000_000, description="Token checks that may fail in one process before it checks no more."),
    ] = 500
    verify_rate_block_max: Annotated[
        int,
        Unit("checks/s"),
        Field(ge=1, le=1_000_000, description="Token checks that may fail for one block of addresses before no more."),
    ] = 50
    check_rate_max: Annotated[
        int, Unit("checks/s"), Field(ge=1, le=1_000_000, description="Tokens that a process checks, good or not.")
    ] = 2000
    trusted_proxies: Annotated[
        str,
        Field(description="Networks whose X-Forwarded-For is believed and that are not limited, separated by commas."),
    ] = "127.0.0.0/8,::1/128,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7"
    user_requests_max: Annotated[
        int,
        Unit("requests/s"),
        Field(
            ge=1, le=1_000_000, description="Requests of one user, but claims, that a process answers in the long run."
        ),
    ] = 10
    client_requests_max: Annotated[
        int,
        Unit("requests/s"),
        Field(ge=1, le=1_000_000, description="The same for a till, a back end or one of the staff."),
    ] = 1000
    block_requests_max: Annotated[
        int,
        Unit("requests/s"),
        Field(ge=1, le=1_000_000, description="The same for a block of addresses: /24, or /64 of IPv6."),
    ] = 300
    presence: Annotated[
        Literal["none", "work"],
        Field(description="What users show for a ticket: nothing, or work; then only tickets claim."),
    ] = "none"
    presence_bits: Annotated[
        int,
        Unit("bits"),
        Field(ge=1, le=32, description="How hard the work is; one more doubles it. 18 are some seconds."),
    ] = 18
    review_burst_max: Annotated[
        int,
        Unit("vouchers"),
        Field(ge=1, le=1_000_000, description="Uses at one merchant within 'review_burst_s'; more are a signal."),
    ] = 30
    review_burst_s: Annotated[
        int, Unit("s"), Field(ge=1, le=3600, description="The seconds in which a merchant's vouchers are counted.")
    ] = 60
    review_split_s: Annotated[
        int,
        Unit("s"),
        Field(ge=1, le=3600, description="Payments of one owner at one merchant within it are looked at."),
    ] = 600
    review_split_percent: Annotated[
        int, Unit("%"), Field(ge=0, le=100, description="Payments so little above the threshold look split (拆单).")
    ] = 5
    review_address_users_max: Annotated[
        int,
        Unit("users/day"),
        Field(ge=1, le=1_000_000, description="Users taking tickets from one block of addresses; more are a signal."),
    ] = 50
    address_days: Annotated[
        int, Unit("days"), Field(ge=0, le=90, description="How long it is kept who took tickets from where; 0: never.")
    ] = 7

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, text: str) -> str:
        try:
            Proxies.read(text)
        except ValueError:
            raise PydanticCustomError("networks", "must be networks like 10.0.0.0/8, separated by commas") from None
        return text
