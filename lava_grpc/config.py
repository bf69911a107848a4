"""Settings: from flags, the environment (`LAVA_…`), then a TOML file; checked at start.

An error names the setting and never shows a secret.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeAlias
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SecretStr,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from typing_extensions import override

from lava_grpc.gateway.vault import KEYS_MAX, read_key

PREFIX = "LAVA_"
PORT_MAX = 65_535
HOLDS_KEPT_DAYS_MIN = 35


class ConfigError(Exception):
    """A setting that is missing or wrong; its text says which, and why."""


class OnGone(StrEnum):
    """What becomes of a provider call whose client has gone."""

    DRAIN = "drain"
    CANCEL = "cancel"


class OnAbandoned(StrEnum):
    """What becomes of the hold of a forwarded call that no process finished."""

    RELEASE = "release"
    CHARGE = "charge"


class HoldPolicyName(StrEnum):
    """How much is held for a call: the most it can use, or what is to be expected of it."""

    UPPER_BOUND = "upper_bound"
    EXPECTED = "expected"


class HostFamily(StrEnum):
    """The wire format of a host that the operator adds."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    GENERIC = "generic"


class PaymentProviderName(StrEnum):
    """Who takes the money for credit."""

    # An operator confirms each payment.
    MANUAL = "manual"
    # For demos and tests: amounts that end in .02 are declined, all else succeeds.
    TEST = "test"


class AwsKey(BaseModel):
    """An AWS access key. Calls are signed with it for the region that their host names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    access_key_id: str = Field(min_length=16, max_length=128)
    secret_access_key: SecretStr = Field(min_length=16)
    session_token: SecretStr | None = None
    region: str | None = None


OneKey: TypeAlias = SecretStr | AwsKey


def _form_of_key(value: object) -> str:
    return "aws" if isinstance(value, dict | AwsKey) else "key"


AnyKey = Annotated[
    Annotated[SecretStr, Tag("key")] | Annotated[AwsKey, Tag("aws")],
    Discriminator(_form_of_key),
]


class WeightedKey(BaseModel):
    """One of several keys for a provider, and its share of the calls."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: AnyKey
    weight: int = Field(default=1, ge=1, le=1000)


def _form_of_keys(value: object) -> str:
    if isinstance(value, list):
        return "several"
    return _form_of_key(value)


ProviderKeys = Annotated[
    Annotated[SecretStr, Tag("key")]
    | Annotated[AwsKey, Tag("aws")]
    | Annotated[list[WeightedKey], Field(min_length=1, max_length=100), Tag("several")],
    Discriminator(_form_of_keys),
]


class AddedHost(BaseModel):
    """A host in a known wire format, beside those that are built in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    family: HostFamily = HostFamily.OPENAI
    id: str | None = None
    price_provider: str | None = None
    asks_usage: bool = True


def _from_json(value: object) -> object:
    """A mapping or list as it is, or from JSON text, as the environment gives it."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value.strip() else {}
    except ValueError:
        raise ValueError("must be JSON") from None


def _list_from_text(value: object) -> object:
    """A list as it is, from JSON text, or from names between commas."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return _from_json(value)
    return [name.strip() for name in value.split(",") if name.strip()]


class Settings(BaseSettings):
    """Everything that can be set. Each has a default that works on one machine."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    # Where the books are: sqlite:///path or postgresql://user:password@host/name.
    database_url: str = Field(default="sqlite:///lava.db", repr=False)
    # Where gRPC and REST listen: host:port. Port 0 takes a free one; an empty
    # http_address serves no REST.
    grpc_address: str = "127.0.0.1:50051"
    http_address: str = "127.0.0.1:8080"
    # The platform's own keys: provider id (or, for a host of one account, that host) to key, to
    # an AWS access key, or to a list of several with their weights.
    provider_keys: Annotated[dict[str, ProviderKeys], NoDecode, BeforeValidator(_from_json)] = (
        Field(default_factory=dict)
    )
    # What merchants' own provider keys are encrypted with: 32 bytes each in base64, newest first.
    # The first encrypts, all decrypt.
    key_encryption_keys: Annotated[
        tuple[SecretStr, ...], NoDecode, BeforeValidator(_list_from_text)
    ] = Field(default=(), max_length=KEYS_MAX)
    # Host to base URL: sends a provider's traffic elsewhere, as itself.
    upstream_map: Annotated[dict[str, str], NoDecode, BeforeValidator(_from_json)] = Field(
        default_factory=dict
    )
    # Hosts beyond the built-in providers' that calls may go to: `host` or `host:port`.
    allowed_hosts: Annotated[frozenset[str], NoDecode, BeforeValidator(_list_from_text)] = (
        frozenset()
    )
    # Hosts that speak OpenAI's or Anthropic's format: host to {family, id, price_provider}.
    compatible_hosts: Annotated[dict[str, AddedHost], NoDecode, BeforeValidator(_from_json)] = (
        Field(default_factory=dict)
    )
    # An operator's prices, which add to the catalogue's or replace them.
    prices_file: Path | None = None
    # Hosts on private networks, or without TLS, that webhooks may name: `host` or `host:port`.
    webhook_hosts: Annotated[frozenset[str], NoDecode, BeforeValidator(_list_from_text)] = (
        frozenset()
    )
    # How often the outbox is looked at for events to deliver.
    webhook_poll_seconds: float = Field(default=1.0, gt=0, le=60)
    # Who is asked to take the money for bundles, top-ups and wallets, and for how long.
    payment_provider: PaymentProviderName = PaymentProviderName.MANUAL
    payment_seconds: float = Field(default=20.0, gt=0, le=30)
    on_gone: OnGone = OnGone.DRAIN
    drain_seconds: float = Field(default=10.0, gt=0, le=600)
    on_abandoned: OnAbandoned = OnAbandoned.RELEASE
    # For merchants who have no policy of their own, and calls that say nothing of it.
    hold_policy: HoldPolicyName = HoldPolicyName.UPPER_BOUND
    body_bytes_max: int = Field(default=32 * 1024 * 1024, ge=1024, le=512 * 1024 * 1024)
    connect_seconds: float = Field(default=10.0, gt=0, le=600)
    first_byte_seconds: float = Field(default=600.0, gt=0, le=3600)
    idle_seconds: float = Field(default=300.0, gt=0, le=3600)
    # Server processes on one port each for gRPC and REST; more than one needs PostgreSQL.
    workers: int = Field(default=1, ge=1, le=256)
    # How many calls each edge of a process has in flight, and how many items each stream.
    calls_max: int = Field(default=4096, ge=1, le=1_000_000)
    stream_items_max: int = Field(default=1024, ge=1, le=100_000)
    queue_commands_max: int = Field(default=10_000, ge=1, le=1_000_000)
    batch_commands_max: int = Field(default=512, ge=1, le=10_000)
    database_connections_max: int = Field(default=8, ge=1, le=200)
    # Whether statements stay prepared on PostgreSQL: not behind a pooler that loses track of them.
    database_prepare: bool = True
    # For how many days holds that have ended are kept; 0: for ever.
    holds_kept_days: int = Field(default=0, ge=0, le=36_500)
    # Without the database for this long, health turns NOT_SERVING.
    unreachable_seconds_max: float = Field(default=5.0, gt=0, le=600)
    # What one API key may call of the REST management endpoints, in each process; 0: no limit.
    rest_calls_per_minute: int = Field(default=1000, ge=0, le=1_000_000)
    key_cache_seconds: float = Field(default=5.0, ge=0, le=300)
    shutdown_seconds: float = Field(default=30.0, gt=0, le=600)
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")
    log_json: bool = False
    # PEM files. With a client CA, callers must show a certificate of it (mTLS).
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None

    @field_validator("grpc_address", "http_address")
    @classmethod
    def _address(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if value and not (host and port.isascii() and port.isdigit() and int(port) <= PORT_MAX):
            raise ValueError("must be host:port")
        return value

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: str) -> str:
        scheme = value.partition(":")[0]
        if scheme in ("postgres", "postgresql"):
            return "postgresql+psycopg" + value[len(scheme) :]
        if scheme not in ("sqlite", "postgresql+psycopg"):
            raise ValueError("must begin with sqlite:/// or postgresql://")
        return value

    @field_validator("upstream_map")
    @classmethod
    def _bases(cls, value: dict[str, str]) -> dict[str, str]:
        for host, base in value.items():
            parts = urlsplit(base)
            if parts.scheme not in ("http", "https") or not parts.netloc or parts.query:
                raise ValueError(f"{host}: must be an http or https base URL")
        return {host.lower(): base for host, base in value.items()}

    @field_validator("key_encryption_keys")
    @classmethod
    def _encryption_keys(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for key in value:
            read_key(key.get_secret_value())
        return value

    @field_validator("allowed_hosts", "webhook_hosts")
    @classmethod
    def _hosts(cls, value: frozenset[str]) -> frozenset[str]:
        for host in value:
            if "/" in host or "*" in host or not host:
                raise ValueError(f"'{host}' must be a host or host:port, without scheme or pattern")
        return frozenset(host.lower() for host in value)

    @model_validator(mode="after")
    def _workers(self) -> Settings:
        if self.workers > 1 and self.database_url.startswith("sqlite:"):
            raise ValueError(f"{PREFIX}WORKERS: SQLite takes one process; more need PostgreSQL")
        return self

    @field_validator("holds_kept_days")
    @classmethod
    def _holds_kept(cls, value: int) -> int:
        # A month's work at a provider may still be settled under its hold.
        if 0 < value < HOLDS_KEPT_DAYS_MIN:
            raise ValueError(f"must be 0, or at least {HOLDS_KEPT_DAYS_MIN}")
        return value

    @model_validator(mode="after")
    def _tls(self) -> Settings:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError(f"{PREFIX}TLS_CERTIFICATE and {PREFIX}TLS_KEY come together")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError(f"{PREFIX}TLS_CLIENT_CA needs {PREFIX}TLS_CERTIFICATE")
        return self


def load(flags: Mapping[str, Any] | None = None, *, file: Path | None = None) -> Settings:
    """The settings in force; flags that are None are not given.

    Raises ConfigError naming each setting that is wrong, by its environment name.
    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    if file is not None and not file.is_file():
        raise ConfigError(f"{PREFIX}CONFIG_FILE: {file} is not a file")

    class FromFile(Settings):
        @classmethod
        @override
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            toml = TomlConfigSettingsSource(settings_cls, toml_file=file)
            return (init_settings, env_settings, toml)

    try:
        return FromFile(**given)
    except ValidationError as error:
        raise ConfigError(_told(error)) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{PREFIX}CONFIG_FILE: {file}: {error}") from None


def _told(error: ValidationError) -> str:
    # The input stays out of it: it may be a key, or a URL with a password.
    lines = []
    for problem in error.errors(include_input=False, include_url=False, include_context=False):
        setting, *within = [str(step) for step in problem["loc"]] or [""]
        place = [f"{PREFIX}{setting.upper()}"] if setting else []
        lines.append(": ".join([*place, *within, problem["msg"].removeprefix("Value error, ")]))
    return "\n".join(lines)
