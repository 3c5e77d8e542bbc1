"""Turns a campaign into what the ledger stores: rounds, stocks and a hashed code for every voucher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from grab_service.campaign import Campaign
from grab_service.references import UserRefs, VoucherCodes
from grab_service.stock import Stock
from ledger.catalogue import NewCampaign, NewRound, NewStock

CodeHashes = Mapping[str, Sequence[bytes]]  # of each stock, from number 1 on


def mint(campaign: Campaign, codes: VoucherCodes) -> NewCampaign:
    """Return the campaign with the hashes of its vouchers' codes."""
    return mint_hashed(campaign, hash_codes(campaign, codes))


def seasoned(campaign: NewCampaign, refs: UserRefs) -> NewCampaign:
    """Return the campaign as one that begins with the current pepper, and keeps it."""
    return replace(campaign, pepper_version=refs.version, pepper_mark=refs.mark)


def hash_codes(campaign: Campaign, codes: VoucherCodes) -> CodeHashes:
    """Return the hash of every voucher's code; what takes time about minting, whatever the campaign's instants."""
    return {
        stock.stock_id: [codes.code_hash(stock.stock_id, number) for number in range(1, stock.quantity + 1)]
        for stock in campaign.stocks()
    }


def mint_hashed(campaign: Campaign, hashes: CodeHashes) -> NewCampaign:
    """Return the campaign with hashes that were made before."""
    stocks = list(campaign.stocks())
    rounds = [
        NewRound(
            round_id=round_.round_id,
            opens_at=round_.opens_at,
            closes_at=round_.closes_at,
            round_limit=campaign.per_user_per_round or 0,
            stocks=[
                _mint_stock(stock, hashes[stock.stock_id]) for stock in stocks if stock.round_id == round_.round_id
            ],
        )
        for round_ in campaign.rounds
    ]
    return NewCampaign(
        campaign_id=campaign.campaign_id,
        document=campaign.document(),
        fund_fen=campaign.fund_fen,
        rounds=rounds,
    )


def _mint_stock(stock: Stock, code_hashes: Sequence[bytes]) -> NewStock:
    return NewStock(
        stock_id=stock.stock_id,
        class_code=stock.class_code,
        tier=stock.tier,
        name=stock.name,
        threshold_fen=stock.threshold_fen,
        discount_fen=stock.discount_fen,
        quantity=stock.quantity,
        available_until=stock.available_until,
        gate_tag=stock.gate_tag,
        spans_rounds=stock.spans_rounds,
        code_hashes=code_hashes,
    )
