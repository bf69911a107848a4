"""A whole service in this process, with a merchant and a fake provider behind it."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc.aio
import httpx

from lava_grpc import config
from lava_grpc.app.office import open_office
from lava_grpc.app.service import Service
from lava_grpc.core.time import Clock
from lava_grpc.testing import FakeProvider

PROVIDER_KEYS = {"openai": "sk-platform", "anthropic": "sk-ant-platform", "google": "g-platform"}


@dataclass(frozen=True, slots=True)
class Running:
    """A service that runs, and how to reach it as its one merchant."""

    service: Service
    grpc_address: str
    http_url: str
    merchant_id: str
    secret_key: str
    provider: FakeProvider
    channel: grpc.aio.Channel
    http: httpx.AsyncClient

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The merchant's credential for gRPC."""
        return (("authorization", f"Bearer {self.secret_key}"),)

    async def rest(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401
        """A call with the merchant's key that succeeds; its JSON."""
        answer = await self.http.request(method, path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def token(self, **facts: object) -> str:
        """A forward token of the merchant's key and these facts."""
        return base64.b64encode(
            json.dumps({"secret_key": self.secret_key, **facts}).encode()
        ).decode()

    async def customer(self, credit: str | None = None, **facts: object) -> str:
        """A new customer's id, with credit."""
        made = await self.rest("POST", "/v1/customers", facts)
        ident: str = made["customer_id"]
        if credit is not None:
            await self.rest("POST", f"/v1/customers/{ident}/credit_grants", {"amount": credit})
        return ident

    async def meter(self, slug: str, rate: str, *, kind: str = "tokens_1m", **facts: object) -> str:
        """A new fixed meter of one tier; its slug."""
        await self.rest(
            "POST",
            "/v1/meters",
            {
                "name": slug,
                "meter_slug": slug,
                "rate_type": "fixed",
                "tier_type": kind,
                "tiers": [{"start": "0", "rate": rate}],
                **facts,
            },
        )
        return slug

    async def balance(self, customer: str) -> dict[str, str]:
        """What a customer has."""
        found: dict[str, str] = await self.rest("GET", f"/v1/customers/{customer}/balance")
        return found

    async def record(self, request_id: str) -> dict[str, Any]:
        """The record of a request."""
        found: dict[str, Any] = await self.rest("GET", f"/v1/requests/{request_id}")
        return found

    async def verified(self) -> None:
        """Fail unless the merchant's books balance."""
        report = await self.rest("GET", "/v1/ledger/verify")
        assert report["ok"], report["findings"]


@asynccontextmanager
async def running(
    database_url: str,
    *,
    wallet_limit: str = "unlimited",
    hosts: Iterable[str] = (),
    clock: Clock | None = None,
    **settings: object,
) -> AsyncIterator[Running]:
    """Serve on loopback until the block ends; further settings as `config.Settings` names them.

    `hosts` are sent to the fake provider too, at its root.
    """
    async with FakeProvider() as provider:
        chosen = config.load(
            {
                "database_url": database_url,
                "grpc_address": "127.0.0.1:0",
                "http_address": "127.0.0.1:0",
                "provider_keys": PROVIDER_KEYS,
                "upstream_map": dict.fromkeys(hosts, provider.base_url) | provider.upstream_map(),
                "shutdown_seconds": 10,
                # Tests call as fast as they can.
                "rest_calls_per_minute": 0,
                **settings,
            }
        )
        async with open_office(chosen) as office:
            merchant = await office.add_merchant("test", test_mode=True, wallet_limit=wallet_limit)
        service = Service(chosen, clock)
        addresses = await service.start()
        http_url = f"http://{addresses.http_address}"
        try:
            async with (
                grpc.aio.insecure_channel(addresses.grpc_address) as channel,
                httpx.AsyncClient(
                    base_url=http_url,
                    headers={"authorization": f"Bearer {merchant.secret_key}"},
                    timeout=30,
                ) as http,
            ):
                yield Running(
                    service,
                    addresses.grpc_address,
                    http_url,
                    merchant.merchant_id,
                    merchant.secret_key,
                    provider,
                    channel,
                    http,
                )
        finally:
            await service.stop()
