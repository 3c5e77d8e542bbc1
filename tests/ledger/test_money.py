"""The fund: what arrives, when it is late, what it is set aside for, and that it adds up to nothing."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime

import pytest

from ledger import money
from ledger.money import FundRefused, Receipt
from tests.ledger.conftest import OpenBooks
from tests.support.books import Books
from tests.support.campaigns import small_campaign
from tests.support.till import FUND_FEN, Till, receive_fund

SUNDAY_10 = datetime(2023, 12, 3, 2, tzinfo=UTC)  # 10 o'clock in Chongqing


def receipt(campaign_id: str, **changes: object) -> Receipt:
    """Return a receipt of the whole fund."""
    facts = {
        "campaign_id": campaign_id,
        "amount_fen": FUND_FEN,
        "reference": "t-1",
        "received_on": date(2023, 11, 30),
        "recorded_by": "test",
    }
    return Receipt(**(facts | changes))  # type: ignore[arg-type]  # by name


async def test_money_that_arrives_is_set_aside_for_the_stocks(books: Books) -> None:
    """The whole fund is in the pool or reserved, and each stock has exactly what its vouchers cost."""
    received = await receive_fund(books.vault, books.campaign.campaign_id)
    assert received.is_new
    assert received.reserved == tuple(stock.stock_id for stock in books.stocks)
    assert received.unfunded == ()
    found = {(each.kind, each.holder): each.balance_fen for each in await balances(books)}
    assert found == {
        ("EXTERNAL", ""): -FUND_FEN,
        ("PAID_OUT", ""): 0,
        ("POOL", ""): FUND_FEN - 30_000,
        ("RESERVED", books.stocks[0].stock_id): 15_000,
        ("RESERVED", books.stocks[1].stock_id): 15_000,
    }
    assert (await books.audit()).ok


async def balances(books: Books) -> list[money.Balance]:
    """Return the campaign's balances."""
    return await money.balances(books.vault, books.campaign.campaign_id)


async def test_one_transfer_is_booked_once(books: Books, database_url: str) -> None:
    """The same reference again changes nothing, also at the same time; for another amount it is refused."""
    campaign_id = books.campaign.campaign_id
    assert (await money.receive_fund(books.vault, receipt(campaign_id))).is_new
    assert not (await money.receive_fund(books.vault, receipt(campaign_id))).is_new
    with pytest.raises(FundRefused, match="booked already"):
        await money.receive_fund(books.vault, receipt(campaign_id, amount_fen=1))
    with pytest.raises(FundRefused, match="no campaign"):
        await money.receive_fund(books.vault, receipt("nowhere"))
    other = Books(books.campaign, books.vault, books.client, database_url, books.redis_url)
    assert [each.balance_fen for each in await balances(other) if each.kind == "EXTERNAL"] == [-FUND_FEN]


async def test_money_in_parts_reaches_as_far_as_it_does(books: Books) -> None:
    """A stock gets all its money or none; the next part goes on where the first one ended."""
    campaign_id = books.campaign.campaign_id
    first = await money.receive_fund(books.vault, receipt(campaign_id, amount_fen=20_000))
    assert (first.reserved, first.unfunded) == ((books.stocks[0].stock_id,), (books.stocks[1].stock_id,))
    second = await money.receive_fund(books.vault, receipt(campaign_id, amount_fen=10_000, reference="t-2"))
    assert (second.reserved, second.unfunded) == ((books.stocks[1].stock_id,), ())
    assert (await books.audit()).ok


async def test_two_people_who_book_one_transfer_book_it_once(till: Till, more_tills: list[Till]) -> None:
    """The second waits for the first and finds it booked."""
    campaign_id = till.books.campaign.campaign_id
    received = await asyncio.gather(
        *(money.receive_fund(each.vault, receipt(campaign_id, reference="t-9")) for each in more_tills)
    )
    assert sum(each.is_new for each in received) == 1
    assert (await till.balances())["EXTERNAL"] == -2 * FUND_FEN


@pytest.mark.parametrize(
    ("received_on", "opens_at", "is_late"),
    [
        (date(2023, 11, 28), SUNDAY_10, False),
        (date(2023, 11, 30), SUNDAY_10, False),  # Thursday, then Friday, then the weekend
        (date(2023, 12, 1), SUNDAY_10, True),
        (date(2023, 12, 3), SUNDAY_10, True),
        (date(2023, 9, 27), datetime(2023, 10, 7, 2, tzinfo=UTC), False),
        (date(2023, 9, 28), datetime(2023, 10, 7, 2, tzinfo=UTC), True),  # 29 September to 6 October were holidays
        (date(2023, 10, 7), datetime(2023, 10, 9, 2, tzinfo=UTC), False),  # Saturday and Sunday were worked instead,
        (date(2023, 10, 8), datetime(2023, 10, 9, 2, tzinfo=UTC), True),  # which a plain calendar does not know
        (date(2023, 11, 30), datetime(2023, 12, 3, 17, tzinfo=UTC), False),  # already Monday in China
    ],
)
def test_money_is_late_less_than_two_working_days_before_a_round(
    received_on: date, opens_at: datetime, is_late: bool
) -> None:
    """Working days are those of China, holidays and make-up days included."""
    assert bool(money.late_for(received_on, [opens_at])) == is_late


async def test_late_money_is_booked_with_a_warning(open_books: OpenBooks, campaign_id: str) -> None:
    """It says for which openings the money was late."""
    books = await open_books(small_campaign(campaign_id))
    received = await receive_fund(books.vault, campaign_id)
    assert len(received.late_for) == 1
    assert received.to_json()["late_for"] == [received.late_for[0].isoformat()]
