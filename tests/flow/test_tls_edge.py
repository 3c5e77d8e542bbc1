"""The proxy's servers with TLS, by real handshakes against a certificate of the test's own authority."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.support.authority import Authority
from tests.support.nginx import NGINX, proxy
from tests.support.ports import free_port
from tests.support.wait import wait_until

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed (Debian: nginx-light)")

_HOST = "localhost"
_YEAR = "max-age=31536000; includeSubDomains"


class Edge(NamedTuple):
    """The ports of a proxy whose API is away, and the authority of its certificate."""

    plain: str
    public: int
    staff: int
    redirecting: int
    authority: Path

    def url(self, port: int) -> str:
        """Return where TLS is spoken."""
        return f"https://{_HOST}:{port}"


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """A proxy with the configuration of TLS as it is handed out, but for its ports and files."""
    directory = tmp_path_factory.mktemp("edge")
    authority = Authority(directory, "authority")
    certificate, key = authority.sign(_HOST)
    public, staff, redirecting = (free_port() for _ in range(3))
    changes = {
        "/etc/nginx/tls/certificate.pem": str(certificate),
        "/etc/nginx/tls/key.pem": str(key),
        "listen 443": f"listen 127.0.0.1:{public}",
        "listen 8443": f"listen 127.0.0.1:{staff}",
        "listen 80;": f"listen 127.0.0.1:{redirecting};",
    }
    with socket.socket() as away:
        away.bind(("127.0.0.1", 0))  # and nobody listens: no other server can take the port
        with proxy(directory, [away.getsockname()[1]], tls=changes) as plain:
            edge = Edge(plain, public, staff, redirecting, authority.file)
            asyncio.run(_ready(edge))
            yield edge


async def _ready(edge: Edge) -> None:
    async def listens() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", edge.staff)
        except OSError:
            return False
        writer.close()
        return True

    await wait_until(listens, "the proxy listens")


def _client(edge: Edge) -> httpx.Client:
    return httpx.Client(verify=ssl.create_default_context(cafile=edge.authority), timeout=20, trust_env=False)


def _handshake(edge: Edge, context: ssl.SSLContext) -> str | None:
    with (
        socket.create_connection(("127.0.0.1", edge.public), timeout=10) as link,
        context.wrap_socket(link, server_hostname=_HOST) as secured,
    ):
        return secured.version()


def test_whoever_comes_by_tls_is_told_to_stay_there(edge: Edge) -> None:
    """The certificate is checked; HSTS is on every answer of both servers, and on none that came without TLS."""
    with _client(edge) as client:
        for url in (edge.url(edge.public), edge.url(edge.staff)):
            for path in ("/v1/stock", "/metrics"):
                assert client.get(url + path).headers.get_list("strict-transport-security") == [_YEAR], path
        assert "strict-transport-security" not in client.get(f"{edge.plain}/v1/stock").headers


def test_a_browser_without_tls_is_sent_to_it(edge: Edge) -> None:
    """With method, path and query as they were."""
    with _client(edge) as client:
        answer = client.post(f"http://{_HOST}:{edge.redirecting}/v1/tickets?a=1")
    assert (answer.status_code, answer.headers["location"]) == (308, f"https://{_HOST}/v1/tickets?a=1")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda each: each.name)
def test_the_versions_of_today_are_spoken(edge: Edge, version: ssl.TLSVersion) -> None:
    """TLS 1.2 and 1.3."""
    context = ssl.create_default_context(cafile=edge.authority)
    context.minimum_version = context.maximum_version = version
    assert _handshake(edge, context) == version.name.replace("_", ".")


def test_old_versions_are_refused(edge: Edge) -> None:
    """TLS 1.1, by a client that would speak it: it is the server who says no."""
    context = ssl.create_default_context(cafile=edge.authority)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
        _handshake(edge, context)


@pytest.mark.parametrize("cipher", ["ECDHE-ECDSA-AES256-SHA384", "ECDHE-ECDSA-AES128-SHA"])
def test_old_ciphers_are_refused(edge: Edge, cipher: str) -> None:
    """Those that are forged by what a server's refusals tell."""
    context = ssl.create_default_context(cafile=edge.authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(cipher)
    with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
        _handshake(edge, context)
