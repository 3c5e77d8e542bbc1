"""Settings of every process, as ``settings_reader`` reads them.  Secrets are none: a setting names the file of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from grab_service.limit_settings import LimitSettings, Unit

FILE_VARIABLE = "GRAB_SETTINGS_FILE"
_PREFIX = "GRAB_"
_REDIS_SCHEMES = frozenset({"redis", "rediss", "unix"})
_HTTP_SCHEMES = frozenset({"http", "https"})
_DATABASE_SCHEMES = frozenset({"postgresql", "postgres"})

# What a part cannot do without, beyond the defaults.
STORES = ("redis_url", "database_url")
SERVING = (*STORES, "jwt_issuer", "jwks_file", "ticket_key_file", "voucher_key_file", "pepper_file")


class Settings(LimitSettings):
    """Every setting; the empty text and None mean that it is not set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    redis_url: Annotated[
        str, Field(repr=False, description="Where the gate (Valkey or Redis) answers: redis://, rediss:// or unix://.")
    ] = ""
    database_url: Annotated[str, Field(repr=False, description="Where the vault answers: postgresql://.")] = ""
    staff_database_url: Annotated[
        str, Field(repr=False, description="The same as a login of grab_staff, for settling at /staff; else the above.")
    ] = ""

    host: Annotated[str, Field(min_length=1, description="Address on which the API listens.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535, description="Port on which the API listens.")] = 8000
    admin_host: Annotated[str, Field(min_length=1, description="Address on which staff and monitoring are served.")] = (
        "127.0.0.1"
    )
    admin_port: Annotated[
        int,
        Field(ge=0, le=65_535, description="Port for staff and monitoring: admin, ops, metrics, docs; 0 for none."),
    ] = 0
    workers: Annotated[int, Unit("processes"), Field(ge=1, le=64, description="How many API processes serve.")] = 1
    server: Annotated[Literal["uvicorn", "granian"], Field(description="Which ASGI server runs the API.")] = "uvicorn"
    shutdown_grace_s: Annotated[
        int, Unit("s"), Field(ge=1, le=300, description="How long requests under way may take at a stop.")
    ] = 10
    body_bytes_max: Annotated[
        int, Unit("bytes"), Field(ge=256, le=1_048_576, description="The longest body of a request.")
    ] = 4096

    reversal_window_s: Annotated[
        int,
        Unit("s"),
        Field(ge=60, le=604_800, description="How long after its redemption a payment can be reversed (冲正)."),
    ] = 86_400

    photo_bytes_max: Annotated[
        int, Unit("bytes"), Field(ge=1024, le=67_108_864, description="The largest photo of a merchant's shop front.")
    ] = 5_242_880

    ack: Annotated[
        Literal["ledger", "stream"],
        Field(description="What a winner's answer waits for: the ledger's commit, or only the gate's fsync."),
    ] = "ledger"
    confirm_timeout_ms: Annotated[
        int, Unit("ms"), Field(ge=50, le=30_000, description="How long a winner waits for the ledger before PENDING.")
    ] = 2000
    gate_timeout_ms: Annotated[
        int, Unit("ms"), Field(ge=50, le=30_000, description="How long a call of the gate may take.")
    ] = 1000
    gate_interval_ms: Annotated[
        int, Unit("ms"), Field(ge=0, le=1000, description="Least time from one call of a stock to the next.")
    ] = 12
    gate_batch_max: Annotated[
        int, Unit("claims"), Field(ge=1, le=1000, description="Claims of one stock that one call of the gate carries.")
    ] = 256
    claims_per_s_max: Annotated[
        int,
        Unit("claims a second"),
        Field(ge=100, le=1_000_000, description="Claims that one process takes to the stores: its stated capacity."),
    ] = 8000
    inflight_max: Annotated[
        int,
        Unit("claims"),
        Field(
            ge=1,
            le=1_000_000,
            description="Claims that one process has under way at the stores; more are shed, fairly between stocks.",
        ),
    ] = 1000
    claims_waiting_max: Annotated[
        int,
        Unit("claims"),
        Field(ge=1, le=1_000_000, description="Claims of one stock that may wait in one process; more are shed."),
    ] = 1000
    snapshot_ms: Annotated[
        int, Unit("ms"), Field(ge=20, le=10_000, description="How often the polled picture of the stocks is renewed.")
    ] = 100
    memory_ms: Annotated[
        int,
        Unit("ms"),
        Field(ge=0, le=10_000, description="How long a process believes what it knows of a stock; 0: it always asks."),
    ] = 200
    holders_remembered_max: Annotated[
        int,
        Unit("holders"),
        Field(ge=0, le=10_000_000, description="Holders of one stock that a process remembers once it is sold out."),
    ] = 200_000
    catalogue_refresh_ms: Annotated[
        int, Unit("ms"), Field(ge=50, le=60_000, description="How often campaigns and epochs are read from the vault.")
    ] = 1000

    counts_dir: Annotated[
        Path | None,
        Field(description="Where the API processes of one service share their counts; made by 'grab serve' if needed."),
    ] = None
    ledger_metrics_port: Annotated[
        int, Field(ge=0, le=65_535, description="Port on which a ledger worker tells its metrics; 0 for none.")
    ] = 0
    log_format: Annotated[Literal["text", "json"], Field(description="How log lines look.")] = "text"
    log_one_refusal_in: Annotated[
        int,
        Unit("requests"),
        Field(ge=0, le=1_000_000, description="One in so many refusals and reads is logged; 0 for no line a request."),
    ] = 1000

    otel_endpoint: Annotated[
        str, Field(description="Where traces are told: base URL of a collector for OTLP over HTTP; empty for nowhere.")
    ] = ""
    otel_one_in: Annotated[
        int,
        Unit("requests"),
        Field(
            ge=1, le=100_000_000, description="One in so many requests is traced; a caller's traceparent decides first."
        ),
    ] = 1000

    jwt_issuer: Annotated[str, Field(description="What 'iss' of the app's tokens must be.")] = ""
    jwt_audience: Annotated[str, Field(min_length=1, description="What 'aud' of the app's tokens must be.")] = "grab"
    token_cache_max: Annotated[
        int, Unit("tokens"), Field(ge=1, le=10_000_000, description="Verified tokens that one process remembers.")
    ] = 200_000
    ticket_ttl_s: Annotated[int, Unit("s"), Field(ge=60, le=86_400, description="How long a ticket is good.")] = 1800

    jwks_file: Annotated[Path | None, Field(description="The app's public keys, a JSON Web Key Set.")] = None
    ticket_key_file: Annotated[Path | None, Field(description="Secret that signs tickets.")] = None
    ticket_key_other_file: Annotated[
        Path | None,
        Field(description="Secret whose tickets are believed too, if the file is there: the one before or to come."),
    ] = None
    voucher_key_file: Annotated[Path | None, Field(description="Secret that voucher codes are derived from.")] = None
    pepper_file: Annotated[
        Path | None, Field(description="Secret of the users' references in campaigns that are stored from now on.")
    ] = None
    pepper_version: Annotated[
        int, Field(ge=1, le=9, description="Version of that secret; another one for another.")
    ] = 1
    pepper_other_files: Annotated[
        str,
        Field(
            pattern=r"^([1-9]=[^,=]+(,[1-9]=[^,=]+)*)?$",
            description="Those that campaigns with valid vouchers began with, but that one: 1=/keys/old.key,2=…",
        ),
    ] = ""
    certificate_key_file: Annotated[
        Path | None, Field(description="Private key (Ed25519, PEM) that signs stocks' certificates.")
    ] = None
    client_key_file: Annotated[
        Path | None, Field(description="Secret that the keys of clients with HMAC are derived from.")
    ] = None

    two_persons: Annotated[
        bool, Field(description="Whether grave acts of staff need a request and somebody else's approval.")
    ] = False
    one_person: Annotated[
        bool,
        Field(
            description="Whether one person is enough for grave acts; if not, API and workers run in a rehearsal only, "
            "or with a vault that asks for two."
        ),
    ] = False
    staff_jwks_file: Annotated[
        Path | None,
        Field(description="Public keys of staff tokens, a JSON Web Key Set; none in common with the app's."),
    ] = None
    staff_token_ttl_max_s: Annotated[
        int, Unit("s"), Field(ge=60, le=28_800, description="How long a staff token may last, from its iat to its exp.")
    ] = 900

    rehearsal: Annotated[
        bool, Field(description="Whether the activity page signs in made-up users; never where real ones claim.")
    ] = False

    docs: Annotated[
        bool, Field(description="Whether the admin port shows /docs and /openapi.json; a rehearsal always does.")
    ] = False

    photo_dir: Annotated[
        Path | None, Field(description="Where photos of merchants' shop fronts are kept; none are taken without it.")
    ] = None

    @field_validator("redis_url")
    @classmethod
    def _redis_scheme(cls, url: str) -> str:
        return _with_scheme(url, _REDIS_SCHEMES)

    @field_validator("otel_endpoint")
    @classmethod
    def _otel_scheme(cls, url: str) -> str:
        return _with_scheme(url, _HTTP_SCHEMES)

    @field_validator("database_url", "staff_database_url")
    @classmethod
    def _database_scheme(cls, url: str) -> str:
        return _with_scheme(url, _DATABASE_SCHEMES)

    def environment(self) -> dict[str, str]:
        """Return these settings as environment variables, for a child process."""
        return {variable_of(name): str(value) for name, value in self if value not in (None, "")}

    def toml(self) -> str:
        """Return these settings as a settings file."""
        # Text in JSON is text in TOML; numbers are the same in both.
        values = {name: value for name, value in self.model_dump(mode="json").items() if value not in (None, "")}
        return "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in values.items())


def variable_of(name: str) -> str:
    """Return the environment variable of the setting ``name``."""
    return _PREFIX + name.upper()


def unit_of(name: str) -> str:
    """Return the unit of the setting ``name``, empty if it has none."""
    return next((part.name for part in Settings.model_fields[name].metadata if isinstance(part, Unit)), "")


def _with_scheme(url: str, schemes: frozenset[str]) -> str:
    if url and urlsplit(url).scheme not in schemes:
        raise PydanticCustomError("scheme", "must begin with " + " or ".join(f"{each}://" for each in sorted(schemes)))
    return url
