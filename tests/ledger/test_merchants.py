"""Merchants: what is asked of them, how they are decided on, and how they are found."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from ledger import merchants
from ledger.merchant_facts import MerchantRules, NewMerchant, Photo
from ledger.merchants import Search, State, Verdict
from tests.support.merchants import approve, load_rules, new_merchant, number

RULES = MerchantRules.of_documents(
    [
        {
            "merchants": {"towns": ["古南街道"], "accepts": ["payment_code"]},
            "classes": [{"class_code": "general", "merchant_categories": ["超市", "家电"]}],
        },
        {
            "merchants": {"towns": ["石角镇"], "accepts": ["payment_code"]},
            "classes": [{"class_code": "general", "merchant_categories": ["建材"]}],
        },
    ]
)


@pytest.fixture
async def ruled(vault: asyncpg.Connection, campaign_id: str) -> asyncpg.Connection:
    """A vault with a campaign's rules."""
    await load_rules(vault, campaign_id)
    return vault


async def decide(vault: asyncpg.Connection, verdict: Verdict, *numbers: str) -> dict[str, str]:
    """Decide as an officer."""
    return await merchants.decide(vault, numbers, verdict, actor="officer", reason="because")


def test_every_campaign_adds_to_what_is_allowed() -> None:
    """A merchant joins the district's merchants, whichever campaign it is for."""
    assert RULES.towns == {"古南街道", "石角镇"}
    assert RULES.categories == {"general": {"超市", "家电", "建材"}}


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"merchant_no": ""}, "merchant_no", "is missing"),
        ({"merchant_no": "89850000000000"}, "merchant_no", "15 digits"),
        ({"merchant_no": "89850000000000１"}, "merchant_no", "15 digits"),
        ({"merchant_no": "8985000000000011"}, "merchant_no", "15 digits"),
        ({"name": ""}, "name", "is missing"),
        ({"name": "长" * 101}, "name", "101 characters"),
        ({"name": '=HYPERLINK("http://x")'}, "name", "formula"),
        ({"name": "＝1+1"}, "name", "formula"),
        ({"name": "+1"}, "name", "formula"),
        ({"name": "-1"}, "name", "formula"),
        ({"address": "@SUM(A1)"}, "address", "formula"),
        ({"name": "超\u202e市"}, "name", "invisible"),
        ({"name": "超\x00市"}, "name", "invisible"),
        ({"address": "1号\n2楼"}, "address", "line break"),
        ({"town": "万盛街道"}, "town", "not one of the campaign's towns"),
        ({"category": "烟酒"}, "category", "not a category of any class"),
        ({"accepts": ()}, "accepts", "is missing"),
        ({"accepts": ("cash",)}, "accepts", "must be payment_code, scan or both"),
    ],
)
def test_a_fact_that_is_wrong_is_named_with_its_reason(changes: dict[str, Any], field: str, reason: str) -> None:
    """One mistake gives one fault."""
    [fault] = RULES.faults_of(new_merchant(**changes))
    assert fault.field == field
    assert reason in fault.reason


def test_every_fault_is_told_at_once() -> None:
    """Who sends an empty form learns all of it."""
    empty = NewMerchant.of_texts({}, [])
    assert [fault.field for fault in RULES.faults_of(empty)] == [
        "merchant_no",
        "name",
        "address",
        "town",
        "category",
        "accepts",
    ]


def test_texts_are_tidied_before_they_are_judged() -> None:
    """Spaces around a text, wide ones too, and repeated ways do no harm."""
    texts = {
        "merchant_no": f" {number(1)}\u3000",
        "name": "\u3000第1超市 ",
        "address": "人民路1号",
        "town": "古南街道 ",
    }
    made = NewMerchant.of_texts(texts | {"category": "超市"}, ["scan", " payment_code", "scan"])
    assert made == new_merchant(accepts=("payment_code", "scan"))
    assert RULES.faults_of(made) == []


async def test_a_merchant_is_submitted_and_read_back(vault: asyncpg.Connection) -> None:
    """Every fact comes back, and the journal begins with who brought it."""
    new = new_merchant(photo=Photo(bytes(32), "image/png"), accepts=("payment_code", "scan"))
    assert not await merchants.submit(vault, [new], actor="bank", reason="list of May")
    stored = await merchants.find(vault, new.merchant_no)
    assert stored is not None
    assert stored.says(new)
    assert (stored.state, stored.submitted_by) == (State.SUBMITTED, "bank")
    [first] = await merchants.journal(vault, new.merchant_no)
    assert (first.from_state, first.to_state, first.actor, first.reason) == (
        None,
        State.SUBMITTED,
        "bank",
        "list of May",
    )
    assert await merchants.find(vault, number(2)) is None


async def test_a_number_is_given_once(vault: asyncpg.Connection) -> None:
    """A second merchant of the same number is told; the first stands as it was, and the new ones are stored."""
    await merchants.submit(vault, [new_merchant()], actor="bank", reason="list")
    taken = await merchants.submit(vault, [new_merchant(name="另一家"), new_merchant(2)], actor="x", reason="list")
    assert taken == {number(1)}
    assert await merchants.known_numbers(vault, [number(n) for n in range(4)]) == {number(1), number(2)}
    stored = await merchants.find(vault, number(1))
    assert stored is not None
    assert stored.name == "第1超市"


async def test_a_merchant_is_approved_suspended_and_resumed(ruled: asyncpg.Connection) -> None:
    """The journal tells the whole story."""
    await approve(ruled, new_merchant())
    assert await decide(ruled, Verdict.SUSPEND, number(1)) == {}
    assert await decide(ruled, Verdict.RESUME, number(1)) == {}
    stored = await merchants.find(ruled, number(1))
    assert stored is not None
    assert stored.state is State.APPROVED
    assert [each.to_state for each in await merchants.journal(ruled, number(1))] == [
        State.SUBMITTED,
        State.APPROVED,
        State.SUSPENDED,
        State.APPROVED,
    ]


async def test_a_verdict_on_the_wrong_state_is_refused(ruled: asyncpg.Connection) -> None:
    """A rejected merchant stays so; a refusal is a value that says what is the matter."""
    await merchants.submit(ruled, [new_merchant()], actor="bank", reason="list")
    assert await decide(ruled, Verdict.SUSPEND, number(1)) == {number(1): "is SUBMITTED, not APPROVED"}
    assert await decide(ruled, Verdict.REJECT, number(1)) == {}
    for verdict in Verdict:
        assert number(1) in await decide(ruled, verdict, number(1))
    assert await decide(ruled, Verdict.APPROVE, number(9)) == {number(9): "is not known"}


async def test_a_verdict_on_many_is_all_or_nothing(ruled: asyncpg.Connection) -> None:
    """One that stands in the way holds the others back."""
    await approve(ruled, new_merchant(1))
    await merchants.submit(ruled, [new_merchant(2)], actor="bank", reason="list")
    assert list(await decide(ruled, Verdict.APPROVE, number(1), number(2))) == [number(1)]
    stored = await merchants.find(ruled, number(2))
    assert stored is not None
    assert stored.state is State.SUBMITTED


async def test_a_merchant_that_does_not_scan_payment_codes_is_not_approved(ruled: asyncpg.Connection) -> None:
    """This scheme approves only merchants that take payment codes; others may be submitted."""
    await merchants.submit(ruled, [new_merchant(accepts=("scan",))], actor="bank", reason="list")
    refusals = await decide(ruled, Verdict.APPROVE, number(1))
    assert refusals == {number(1): "accepts must include payment_code for an approval"}


async def test_of_two_decisions_at_once_one_wins(ruled: asyncpg.Connection, database_url: str) -> None:
    """Two officers cannot both decide on the same submission."""
    await merchants.submit(ruled, [new_merchant()], actor="bank", reason="list")
    other = await asyncpg.connect(database_url)
    verdicts = (Verdict.APPROVE, Verdict.REJECT)
    results = await asyncio.gather(
        *(decide(each, verdict, number(1)) for each, verdict in zip((ruled, other), verdicts, strict=True))
    )
    assert sorted(map(len, results)) == [0, 1]
    assert len(await merchants.journal(ruled, number(1))) == 2
    await other.close()


async def test_pages_hold_every_merchant_once(ruled: asyncpg.Connection) -> None:
    """Following the cursor gives each merchant once, in order, even while others join."""
    await approve(ruled, *(new_merchant(n) for n in range(1, 8)))
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        page = await merchants.search(ruled, Search(after=after, limit=3))
        seen += [each.merchant_no for each in page.merchants]
        after = page.next_after
    assert seen == [number(n) for n in range(1, 8)]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Search(state=State.APPROVED), [1, 2, 3]),
        (Search(state=State.SUBMITTED), [4]),
        (Search(town="石角镇"), [2]),
        (Search(categories=["火锅"]), [3]),
        (Search(categories=[]), []),
        (Search(text="苏宁"), [2]),
        (Search(text="suNing"), [2]),
        (Search(text="人民路3"), [3]),
        (Search(text="%"), []),
        (Search(text="_"), []),
        (Search(state=State.APPROVED, town="古南街道", text="超市"), [1]),
    ],
)
async def test_merchants_are_found_by_what_is_known_of_them(
    ruled: asyncpg.Connection, wanted: Search, found: list[int]
) -> None:
    """State, town, category and a part of name or address; nothing in the text is a wildcard."""
    await approve(
        ruled,
        new_merchant(1),
        new_merchant(2, name="苏宁 SUNING", town="石角镇"),
        new_merchant(3, name="火锅店", category="火锅"),
    )
    await merchants.submit(ruled, [new_merchant(4, name="丁", address="和平路")], actor="bank", reason="list")
    page = await merchants.search(ruled, wanted)
    assert [each.merchant_no for each in page.merchants] == [number(n) for n in found]
