"""What a merchant says of itself, and the rules that it must obey; nothing here touches a store."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

WAYS = ("payment_code", "scan")  # how a merchant takes a payment, in the order they are stored
NAME_CHARACTERS_MAX = 100
ADDRESS_CHARACTERS_MAX = 200
_NUMBER = re.compile(r"[0-9]{15}", re.ASCII)
# A spreadsheet would run a text that begins so, also in its full-width form.
_FORMULA_BEGINNINGS = tuple("=+-@＝＋－＠")
_TOLD_CHARACTERS_MAX = 40


class Fault(NamedTuple):
    """One thing that is wrong: the name of the fact, and a sentence that goes on after that name."""

    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class Photo:
    """A stored photo of the shop front: the SHA-256 of its bytes and what kind of image it is."""

    sha256: bytes
    content_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMerchant:
    """A merchant that wants to join.

    Attributes:
        merchant_no: UnionPay number (银联商户编号), 15 digits.
        town: One of the campaign's towns (镇街).
        category: One of the categories that a class of the campaign names.
        accepts: ``payment_code``, ``scan`` or both.
        photo: The shop front; None for a merchant of a bank's list.
    """

    merchant_no: str
    name: str
    address: str
    town: str
    category: str
    accepts: tuple[str, ...]
    photo: Photo | None = None

    @classmethod
    def of_texts(cls, texts: Mapping[str, str], accepts: Iterable[str], photo: Photo | None = None) -> NewMerchant:
        """Make one of texts as they were sent: without spaces around them, letters in one form, each way once."""
        told = {name: tidy(texts.get(name, "")) for name in ("merchant_no", "name", "address", "town", "category")}
        ways = {tidy(way) for way in accepts}
        known = tuple(way for way in WAYS if way in ways)
        return cls(**told, accepts=(*known, *sorted(ways.difference(WAYS))), photo=photo)


@dataclass(frozen=True, slots=True)
class MerchantRules:
    """What the stored campaigns ask of a merchant.

    Attributes:
        towns: Every town.
        categories: The categories of each class.
        accepts: Ways of payment of which an approved merchant takes at least one.
    """

    towns: frozenset[str]
    categories: Mapping[str, frozenset[str]]
    accepts: frozenset[str]

    @classmethod
    def of_documents(cls, documents: Iterable[Mapping[str, Any]]) -> MerchantRules:
        """Read them from the documents of campaigns; what one of them allows is allowed."""
        towns: set[str] = set()
        accepts: set[str] = set()
        categories: dict[str, frozenset[str]] = {}
        for document in documents:
            merchants = document.get("merchants", {})
            towns.update(merchants.get("towns", ()))
            accepts.update(merchants.get("accepts", ()))
            for each in document.get("classes", ()):
                known = categories.get(each["class_code"], frozenset())
                categories[each["class_code"]] = known.union(each["merchant_categories"])
        return cls(frozenset(towns), categories, frozenset(accepts))

    def faults_of(self, merchant: NewMerchant) -> list[Fault]:
        """Return everything that is wrong with a merchant's facts."""
        return [
            *_number_faults(merchant.merchant_no),
            *_text_faults("name", merchant.name, NAME_CHARACTERS_MAX),
            *_text_faults("address", merchant.address, ADDRESS_CHARACTERS_MAX),
            *_choice_faults("town", merchant.town, self.towns, "one of the campaign's towns"),
            *_choice_faults("category", merchant.category, self._all_categories, "a category of any class"),
            *_way_faults(merchant.accepts),
        ]

    def approval_faults_of(self, accepts: Iterable[str]) -> list[Fault]:
        """Return why a merchant that takes payments in these ways cannot be approved."""
        if self.accepts.isdisjoint(accepts):
            return [Fault("accepts", f"must include {' or '.join(sorted(self.accepts))} for an approval")]
        return []

    @property
    def _all_categories(self) -> frozenset[str]:
        return frozenset().union(*self.categories.values())


def tidy(text: str) -> str:
    """Return a text without spaces around it, wide spaces as plain ones, its letters composed (NFC)."""
    return unicodedata.normalize("NFC", text.replace("\u3000", " ").replace("\u00a0", " ")).strip()


def shown(text: str) -> str:
    """Return a text as a sentence can quote it: short, and without anything that a terminal would obey."""
    return repr(text if len(text) <= _TOLD_CHARACTERS_MAX else text[:_TOLD_CHARACTERS_MAX] + "…")


def _number_faults(text: str) -> Iterator[Fault]:
    if not text:
        yield Fault("merchant_no", "is missing")
    elif not _NUMBER.fullmatch(text):
        yield Fault("merchant_no", f"must be 15 digits, not {shown(text)}")


def _text_faults(field: str, text: str, characters_max: int) -> Iterator[Fault]:
    if not text:
        yield Fault(field, "is missing")
    elif len(text) > characters_max:
        yield Fault(field, f"has {len(text)} characters, more than {characters_max}")
    if not text.isprintable():
        yield Fault(field, f"holds a line break or an invisible character: {shown(text)}")
    if text.startswith(_FORMULA_BEGINNINGS):
        yield Fault(field, f"begins like a formula, with '{text[0]}': {shown(text)}")


def _choice_faults(field: str, text: str, choices: frozenset[str], what: str) -> Iterator[Fault]:
    if not text:
        yield Fault(field, "is missing")
    elif text not in choices:
        yield Fault(field, f"is not {what}: {shown(text)}")


def _way_faults(accepts: tuple[str, ...]) -> Iterator[Fault]:
    if not any(accepts):
        yield Fault("accepts", "is missing")
    for way in accepts:
        if way and way not in WAYS:
            yield Fault("accepts", f"must be payment_code, scan or both, not {shown(way)}")
