"""Provider keys put together: the platform's out of settings, merchants' out of the database."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

import structlog

from lava_grpc import config
from lava_grpc.app.clock import SystemClock
from lava_grpc.app.parts import migrate, open_database, registry_of
from lava_grpc.core.errors import Refusal, not_found
from lava_grpc.core.ids import IdSource
from lava_grpc.core.page import Page
from lava_grpc.core.provider_key import ProviderKey
from lava_grpc.core.time import Clock
from lava_grpc.gateway.key_pool import Pool, PooledKey
from lava_grpc.gateway.keys import prefix_of
from lava_grpc.gateway.principal import Principal
from lava_grpc.gateway.provider_keys import KEYS_MAX, NewProviderKey, ProviderKeys
from lava_grpc.gateway.signing import has_botocore
from lava_grpc.gateway.stored_keys import StoredKeys
from lava_grpc.gateway.vault import Vault, read_key
from lava_grpc.providers.registry import Registry
from lava_grpc.store.database import Database
from lava_grpc.store.provider_keys import StoreProviderKeys
from lava_grpc.store.resources import StoreResources

USES_SECONDS = 15.0
"""How often it is written when stored keys were last used."""

_log = structlog.get_logger(__name__)


class ProviderKeyParts:
    """The use case, what the hot path reads, and the worker that notes last uses."""

    def __init__(
        self,
        settings: config.Settings,
        database: Database,
        registry: Registry,
        *,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        store = StoreProviderKeys(database)
        keys = [read_key(key.get_secret_value()) for key in settings.key_encryption_keys]
        vault = Vault(keys)
        self.stored = StoredKeys(
            store, vault, time.monotonic, cache_seconds=settings.key_cache_seconds
        )
        self.use_case = ProviderKeys(
            store,
            vault,
            registry,
            clock=clock,
            ids=ids,
            changed=self.stored.forget,
            hosts=settings.allowed_hosts | settings.upstream_map.keys(),
        )
        self._writing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to note last uses."""
        self._writing = asyncio.create_task(self._write())

    async def stop(self) -> None:
        """Note what was used since."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait((self._writing,))
            await self._flush()

    async def _write(self) -> None:
        while True:
            await asyncio.sleep(USES_SECONDS)
            await self._flush()

    async def _flush(self) -> None:
        try:
            await self.stored.flush()
        except Refusal:
            _log.warning("when provider keys were last used could not be written")


def managed_keys(settings: config.Settings) -> dict[str, Pool]:
    """The platform's keys by provider id or host.

    Raises ConfigError for AWS access keys where nothing can sign with them.
    """
    pools: dict[str, Pool] = {}
    for name, given in settings.provider_keys.items():
        several = given if isinstance(given, list) else [config.WeightedKey(key=given)]
        pools[name] = tuple(
            PooledKey(f"{name} {index}", _secret(name, one.key), one.weight)
            for index, one in enumerate(several)
        )
    return pools


def _secret(name: str, key: config.OneKey) -> str:
    if not isinstance(key, config.AwsKey):
        return key.get_secret_value()
    if not has_botocore():
        raise config.ConfigError(
            f"{config.PREFIX}PROVIDER_KEYS: {name}: AWS access keys need the extra `bedrock`: "
            "pip install 'lava-grpc[bedrock]'"
        )
    token = key.session_token
    return json.dumps(
        {
            "access_key_id": key.access_key_id,
            "secret_access_key": key.secret_access_key.get_secret_value(),
            "session_token": None if token is None else token.get_secret_value(),
        }
    )


class KeyOffice:
    """The operator's commands on stored keys, on a database of their own."""

    def __init__(self, settings: config.Settings, database: Database) -> None:
        self._resources = StoreResources(database)
        self.keys = ProviderKeyParts(
            settings, database, registry_of(settings), clock=SystemClock(), ids=IdSource()
        ).use_case

    async def create(self, merchant_id: str, new: NewProviderKey) -> dict[str, Any]:
        """A further key, without its secret."""
        return _shown(await self.keys.create(await self._principal(merchant_id), new))

    async def list(self, merchant_id: str) -> list[dict[str, Any]]:
        """Every key, without its secret; there are at most KEYS_MAX."""
        principal = await self._principal(merchant_id)
        found = await self.keys.list(principal, Page(limit=KEYS_MAX))
        return [_shown(key) for key in found.items]

    async def rotate(self, merchant_id: str, provider_key_id: str, secret: str) -> dict[str, Any]:
        """Replace a key's secret."""
        principal = await self._principal(merchant_id)
        return _shown(await self.keys.rotate(principal, provider_key_id, secret))

    async def delete(self, merchant_id: str, provider_key_id: str) -> None:
        """Delete a key and its secret."""
        await self.keys.delete(await self._principal(merchant_id), provider_key_id)

    async def _principal(self, merchant_id: str) -> Principal:
        merchant = await self._resources.merchant(merchant_id)
        if merchant is None:
            raise not_found("merchant", merchant_id, field="merchant")
        return Principal(merchant_id, prefix_of(merchant))


def _shown(key: ProviderKey) -> dict[str, Any]:
    return {**asdict(key), "status": key.status.value}


@contextlib.asynccontextmanager
async def open_key_office(settings: config.Settings) -> AsyncIterator[KeyOffice]:
    """A key office on the migrated database that the settings name."""
    migrate(settings)
    database = open_database(settings)
    try:
        yield KeyOffice(settings, database)
    finally:
        database.close()
