"""What is said of the stores' URLs."""

from __future__ import annotations

from pathlib import Path

import pytest

from grab_service import keyring
from grab_service.keyring import KeyringInvalid
from grab_service.rehearsal import RehearsalKeys
from grab_service.settings import Settings
from grab_service.store_urls import has_weak_password, is_in_the_clear, is_nobody, lacks_password

_LONG = "k" * 16


@pytest.mark.parametrize(
    ("url", "is_weak"),
    [
        ("redis://10.0.0.1:6379", False),
        ("redis://:changeme@10.0.0.1:6379", True),
        (f"rediss://grab-api:{_LONG}@gate:6379", False),
        ("unix://grab-api:short@/run/valkey.sock", True),
        ("postgresql://grab:grab@db/grab", True),
        ("postgresql:///grab?host=/run/postgresql&user=grab&password=postgres", True),
        (f"postgresql://grab:{_LONG}@db/grab?sslmode=verify-full", False),
    ],
)
def test_a_short_password_is_found(url: str, is_weak: bool) -> None:
    """Wherever it stands in the URL."""
    assert has_weak_password(url) is is_weak


@pytest.mark.parametrize(
    ("url", "is_clear"),
    [
        ("unix:///run/valkey.sock", False),
        ("redis://127.0.0.1:6379", False),
        ("redis://[::1]:6379", False),
        ("redis://localhost", False),
        ("redis://10.0.0.1:6379", True),
        ("rediss://gate:6379", False),
        ("rediss://gate:6379?ssl_cert_reqs=none", True),
        ("rediss://gate:6379?ssl_check_hostname=false", True),
        ("rediss://gate:6379?ssl_check_hostname=true&ssl_ca_certs=/etc/grab/ca.pem", False),
        ("postgresql://grab@/postgres?host=/run/postgresql", False),
        ("postgresql:///grab", False),
        ("postgresql://grab@db/grab", True),
        ("postgresql://grab@db/grab?sslmode=require", True),
        ("postgresql://grab@db/grab?sslmode=verify-full&sslrootcert=/etc/grab/ca.pem", False),
        ("postgresql:///grab?host=db", True),
    ],
)
def test_what_others_could_read_is_found(url: str, is_clear: bool) -> None:
    """Sockets and this machine need no TLS; any other host needs one that checks whom it speaks to."""
    assert is_in_the_clear(url) is is_clear


def test_the_default_user_of_the_gate_is_found() -> None:
    """Who names none is the default one."""
    assert is_nobody("redis://:secret@gate")
    assert not is_nobody("rediss://grab-api:secret@gate")


@pytest.mark.parametrize("name", ["redis_url", "database_url"])
def test_a_process_does_not_start_with_a_password_that_could_be_guessed(tmp_path: Path, name: str) -> None:
    """But for a rehearsal; and the sentence does not tell the password."""
    keys = RehearsalKeys(tmp_path)
    keys.make()
    scheme = "redis" if name == "redis_url" else "postgresql"
    weak = Settings.model_validate({**keys.settings(), name: f"{scheme}://grab:changeme@db"})
    with pytest.raises(KeyringInvalid, match=name.upper()) as refused:
        keyring.load(weak)
    assert "changeme" not in str(refused.value)
    keyring.load(weak.model_copy(update={"rehearsal": True}))


@pytest.mark.parametrize(
    ("url", "is_lacking"),
    [
        ("redis://10.0.0.1:6379", True),
        ("rediss://grab-api@gate:6379", True),
        (f"redis://grab-api:{_LONG}@gate:6379", False),
        ("redis://127.0.0.1:6379", False),
        ("unix:///run/valkey.sock", False),
    ],
)
def test_a_gate_on_another_machine_wants_a_password(url: str, is_lacking: bool) -> None:
    """On this one a socket or the loopback is enough; elsewhere no part starts without, but in a rehearsal."""
    assert lacks_password(url) is is_lacking
    settings = Settings(redis_url=url, rehearsal=True)
    keyring.refuse_weak_passwords(settings)
    if is_lacking:
        with pytest.raises(KeyringInvalid, match="GRAB_REDIS_URL"):
            keyring.refuse_weak_passwords(settings.model_copy(update={"rehearsal": False}))
