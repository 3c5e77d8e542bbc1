"""Turns a campaign into what the ledger stores: rounds, stocks and a hashed code for every voucher."""

from __future__ import annotations

from grab_service.campaign import Campaign
from grab_service.references import VoucherCodes
from grab_service.stock import Stock
from ledger.catalogue import NewCampaign, NewRound, NewStock


def mint(campaign: Campaign, codes: VoucherCodes) -> NewCampaign:
    """Return the campaign with the hashes of its vouchers' codes."""
    stocks = list(campaign.stocks())
    rounds = [
        NewRound(
            round_id=round_.round_id,
            opens_at=round_.opens_at,
            closes_at=round_.closes_at,
            round_limit=campaign.per_user_per_round or 0,
            stocks=[_mint_stock(stock, codes) for stock in stocks if stock.round_id == round_.round_id],
        )
        for round_ in campaign.rounds
    ]
    return NewCampaign(
        campaign_id=campaign.campaign_id,
        document=campaign.document(),
        fund_fen=campaign.fund_fen,
        rounds=rounds,
    )


def _mint_stock(stock: Stock, codes: VoucherCodes) -> NewStock:
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
        code_hashes=[codes.code_hash(stock.stock_id, number) for number in range(1, stock.quantity + 1)],
    )
