"""The merchants' routes: one joins, everybody finds those that are approved."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from grab_service import instants, photos
from grab_service.api.caller import Caller, IncomingFacts, RunningService
from grab_service.api.documented import refusals
from grab_service.api.merchant_form import REQUEST_BODY, MerchantForm, read_form
from grab_service.api.models import MerchantPage, SubmittedMerchant
from grab_service.api.problems import Code, Problem
from grab_service.api.service import Service
from grab_service.api.vault import VaultUnavailable
from grab_service.photos import PhotoInvalid
from ledger import merchants
from ledger.merchant_facts import Fault, MerchantRules, NewMerchant, Photo
from ledger.merchants import PAGE_MAX, Merchant, Search, State

_log = logging.getLogger(__name__)

router = APIRouter(tags=["merchants"])

_REASON = "registered online"
_NO_STORE = {"Cache-Control": "no-store"}
_CACHING = {"Cache-Control": "public, max-age=5"}


@router.post(
    "/v1/merchants",
    operation_id="submitMerchant",
    summary="商户登记",
    status_code=201,
    response_model=SubmittedMerchant,
    responses={
        200: {"description": "this very submission is stored already", "model": SubmittedMerchant},
        **refusals(
            Code.SIGN_ERROR,
            Code.FORBIDDEN,
            Code.MERCHANT_EXISTS,
            Code.TOO_LARGE,
            Code.PARAM_ERROR,
            Code.FREQUENCY_LIMIT_EXCEED,
            Code.SYSTEM_BUSY,
        ),
    },
    openapi_extra={"requestBody": REQUEST_BODY},
)
async def submit_merchant(
    caller: Caller,
    incoming: IncomingFacts,
    service: RunningService,
    request: Request,
) -> JSONResponse:
    """Submit a merchant with a photo of its shop front; the Commission decides on it.

    商户在线登记并上传门头照片，由商务委审核。
    """
    directory = service.settings.photo_dir
    if directory is None or not service.campaigns:
        raise Problem(Code.SYSTEM_BUSY, "No campaign is loaded yet, or no place for photos is set (GRAB_PHOTO_DIR).")
    form = await read_form(request, incoming.content_type, service.settings.photo_bytes_max)
    new = await _judged(form, _rules_of(service))
    stored = await _find(service, new.merchant_no)
    is_new = stored is None
    if stored is None:
        # Before the row: a photo without a merchant does no harm, a merchant without its photo would.
        await _keep_photo(directory, form.photo)
        stored, is_new = await _store(service, new, caller.user_ref)
    if not is_new and not (stored.submitted_by == caller.user_ref and stored.says(new)):
        raise Problem(Code.MERCHANT_EXISTS)
    body = {
        **_public_facts(stored),
        "state": stored.state,
        "submitted_at": instants.from_datetime(stored.submitted_at),
        "replayed": not is_new,
    }
    return JSONResponse(body, 201 if is_new else 200, headers=_NO_STORE)


@router.get(
    "/v1/merchants",
    operation_id="listMerchants",
    summary="商户列表",
    response_model=MerchantPage,
    responses=refusals(Code.PARAM_ERROR, Code.SYSTEM_BUSY),
)
async def list_merchants(
    *,
    service: RunningService,
    class_: Annotated[
        str | None, Query(alias="class", max_length=16, description="takes vouchers of this class")
    ] = None,
    town: Annotated[str | None, Query(max_length=30, description="镇街")] = None,
    q: Annotated[str | None, Query(max_length=100, description="a part of the name or address")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX, description="merchants of a page")] = 20,
    cursor: Annotated[
        str, Query(pattern="^([0-9]{15})?$", description="next_cursor of the page before; none for the first")
    ] = "",
) -> JSONResponse:
    """List approved merchants in a fixed order, page by page.

    查询已审核通过的商户，可按券类别、镇街、名称或地址检索。
    """
    rules = _rules_of(service)
    if class_ is not None and class_ not in rules.categories:
        raise Problem(Code.PARAM_ERROR, errors=[{"field": "class", "reason": "is not a class of any campaign"}])
    wanted = Search(
        state=State.APPROVED,
        town=town or None,
        categories=None if class_ is None else rules.categories[class_],
        text=(q or "").strip() or None,
        after=cursor,
        limit=limit,
    )
    if "\x00" in f"{town}{q}":  # what the vault cannot hold, it cannot find
        return JSONResponse({"data": [], "next_cursor": None}, headers=_CACHING)
    try:
        page = await service.vault.search_merchants(wanted)
    except VaultUnavailable as error:
        raise Problem(Code.SYSTEM_BUSY, "The ledger did not answer.") from error
    data = [_public_facts(each) | {"classes": _classes_of(each, rules)} for each in page.merchants]
    return JSONResponse({"data": data, "next_cursor": page.next_after}, headers=_CACHING)


async def _judged(form: MerchantForm, rules: MerchantRules) -> NewMerchant:
    """Return the merchant if all it says is in order; refuse it with every fault otherwise."""
    photo = None
    faults = rules.faults_of(NewMerchant.of_texts(form.texts, form.accepts))
    try:
        image = await asyncio.to_thread(photos.examine, form.photo)
        photo = Photo(photos.name_of(form.photo), image.content_type)
    except PhotoInvalid as error:
        faults.append(Fault("photo", str(error) if form.photo else "is missing"))
    if faults:
        raise Problem(Code.PARAM_ERROR, errors=[fault._asdict() for fault in faults])
    return NewMerchant.of_texts(form.texts, form.accepts, photo)


async def _keep_photo(directory: Path, content: bytes) -> None:
    try:
        await asyncio.to_thread(photos.keep, directory, content)
    except OSError as error:
        _log.exception("a photo could not be kept")
        raise Problem(Code.SYSTEM_BUSY, "The photo could not be stored.") from error


async def _find(service: Service, merchant_no: str) -> Merchant | None:
    try:
        async with service.vault.connection() as connection:
            return await merchants.find(connection, merchant_no)
    except VaultUnavailable as error:
        raise Problem(Code.SYSTEM_BUSY, "The ledger did not answer.") from error


async def _store(service: Service, new: NewMerchant, actor: str) -> tuple[Merchant, bool]:
    """Return the merchant of this number as it is stored, and whether this call has stored it."""
    try:
        async with service.vault.connection() as connection:
            taken = await merchants.submit(connection, [new], actor=actor, reason=_REASON)
    except VaultUnavailable as error:
        raise Problem(Code.SYSTEM_BUSY, "The ledger did not answer.") from error
    stored = await _find(service, new.merchant_no)
    assert stored is not None  # noqa: S101  merchants are never removed
    return stored, not taken


def _rules_of(service: Service) -> MerchantRules:
    return MerchantRules.of_documents(campaign.document() for campaign in service.campaigns.values())


def _classes_of(merchant: Merchant, rules: MerchantRules) -> list[str]:
    return [name for name, categories in rules.categories.items() if merchant.category in categories]


def _public_facts(merchant: Merchant) -> dict[str, Any]:
    return {
        "merchant_no": merchant.merchant_no,
        "name": merchant.name,
        "address": merchant.address,
        "town": merchant.town,
        "category": merchant.category,
        "accepts": list(merchant.accepts),
    }
