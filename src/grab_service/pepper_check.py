"""Whether the peppers of this process are those that the stored campaigns began with.

With another one a user would be somebody else: he would not find his vouchers, and could claim again.
"""

from __future__ import annotations

from collections.abc import Iterable

import asyncpg

from grab_service.keyring import KeyringInvalid
from grab_service.references import UserRefs
from grab_service.settings import variable_of
from ledger import catalogue
from ledger.catalogue import CampaignPepper


def unfit(peppers: Iterable[CampaignPepper], refs: UserRefs) -> dict[str, str]:
    """Return what is wrong, by campaign; empty when each has its pepper here."""
    return {each.campaign_id: sentence for each in peppers if (sentence := _fault(each, refs))}


async def see_peppers(vault: asyncpg.Connection, refs: UserRefs) -> None:
    """See that each campaign with vouchers that are still valid has its pepper here.

    Raises:
        KeyringInvalid: One has not.
        asyncpg.PostgresError, OSError: The vault is in trouble.
    """
    needed = [each for each in await catalogue.peppers(vault) if each.is_needed]
    if faults := unfit(needed, refs):
        raise KeyringInvalid("; ".join(faults.values()))


def _fault(pepper: CampaignPepper, refs: UserRefs) -> str:
    own = refs.under(pepper.version)
    if own is None:
        return (
            f"{pepper.campaign_id} began with version {pepper.version} of the pepper, which is not here: "
            f"name its file in {variable_of('pepper_other_files')}"
        )
    if pepper.mark is not None and own.mark != pepper.mark:
        return f"{pepper.campaign_id} began with another pepper than the one here as version {pepper.version}"
    return ""
