"""A member of staff with a browser that runs no script: signs in, reads pages, sends their forms."""

from __future__ import annotations

import re
import time
from typing import Any

import httpx

from grab_service.rehearsal import RehearsalKeys
from grab_service.settings import Settings

BOTH = "admin:merchants admin:settle"
_CSRF = re.compile(r'name="csrf" value="([0-9a-f]{64})"')


def staff_token(settings: Settings, name: str, scope: str = BOTH) -> str:
    """Return a token of somebody of the staff."""
    assert settings.jwks_file is not None
    sign = RehearsalKeys(settings.jwks_file.parent).signer(
        issuer=settings.jwt_issuer, audience=settings.jwt_audience, now_s=int(time.time())
    )
    return sign(name, "500110", scope)


class Desk:
    """One member of staff.

    Args:
        url: Of the service.
        token: Who it is.
    """

    def __init__(self, url: str, token: str) -> None:
        self.client = httpx.AsyncClient(base_url=url, timeout=20)
        self.origin = {"Origin": str(self.client.base_url).rstrip("/")}
        self._token = token

    async def sign_in(self) -> httpx.Response:
        """Put the token into the cookie."""
        return await self.client.post("/staff/session", data={"token": self._token}, headers=self.origin)

    async def get(self, path: str) -> httpx.Response:
        """Ask for a page."""
        return await self.client.get(path)

    async def csrf(self, path: str) -> str:
        """Return what the forms of a page carry."""
        page = await self.get(path)
        found = _CSRF.search(page.text)
        assert found, page.text
        return found[1]

    async def send(self, path: str, data: dict[str, Any], **more: Any) -> httpx.Response:
        """Send a form as its page does."""
        form = {"csrf": await self.csrf("/staff"), **data}
        return await self.client.post(path, data=form, headers=self.origin, **more)
