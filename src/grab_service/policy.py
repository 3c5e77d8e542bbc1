"""Where real vouchers are handed out, nothing runs before the vault asks two persons for grave acts.

Unless the settings say that one is enough.
"""

from __future__ import annotations

from grab_service.settings import Settings, variable_of
from grab_service.stores import open_vault
from ledger import admin

ONE_ALONE = (
    "one person alone could open, pay and recover here: run 'grab migrate --two-persons', "
    f"or say that one is enough with {variable_of('one_person')}=true"
)


def asks_for_two(settings: Settings) -> bool:
    """Whether the vault must have the policy before the service may run."""
    return not settings.rehearsal and (settings.two_persons or not settings.one_person)


async def forbids_start(settings: Settings) -> bool:
    """Whether the vault must have the policy and has not.

    Raises:
        StoreUnavailable: The vault does not tell.
    """
    if not asks_for_two(settings):
        return False
    async with open_vault(settings) as vault:
        return not await admin.must_agree(vault)
