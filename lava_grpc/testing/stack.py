"""A whole gateway on loopback, as its operator starts one: for the demo and for trying out."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from lava_grpc.testing.fake_provider import FakeProvider

STOP_SECONDS_MAX = 30.0
_PROVIDER_KEYS = {"openai": "sk-platform", "anthropic": "sk-ant-platform"}


@dataclass(frozen=True, slots=True)
class Stack:
    """Where a gateway listens, its merchant and key, and the fake provider behind it."""

    grpc_address: str
    http_url: str
    merchant_id: str
    secret_key: str
    provider: FakeProvider
    environment: dict[str, str]

    def forward_token(self, customer: str, meter: str) -> str:
        """What a customer's client uses as its API key."""
        return forward_token(self.secret_key, customer, meter)

    async def command(self, *arguments: str) -> tuple[int, str]:
        """The exit code and standard output of an operator's command."""
        return await _run(self.environment, *arguments)


def forward_token(secret_key: str, customer: str, meter: str) -> str:
    """Base64 of the JSON that names the merchant's key, who pays, and by which meter."""
    facts = {"secret_key": secret_key, "customer_id": customer, "meter_slug": meter}
    return base64.b64encode(json.dumps(facts).encode()).decode()


@asynccontextmanager
async def running_stack(
    folder: Path,
    *,
    grpc_address: str = "127.0.0.1:0",
    http_address: str = "127.0.0.1:0",
    wallet_limit: str = "unlimited",
) -> AsyncIterator[Stack]:
    """Start a fake provider and `lava-grpc serve` on SQLite in `folder`; stop both at the end."""
    async with FakeProvider(keys=_PROVIDER_KEYS.values()) as provider:
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("LAVA_")},
            "LAVA_DATABASE_URL": f"sqlite:///{folder / 'lava.db'}",
            "LAVA_GRPC_ADDRESS": grpc_address,
            "LAVA_HTTP_ADDRESS": http_address,
            "LAVA_PROVIDER_KEYS": json.dumps(_PROVIDER_KEYS),
            "LAVA_UPSTREAM_MAP": json.dumps(
                {
                    "api.openai.com": f"{provider.base_url}/openai",
                    "api.anthropic.com": f"{provider.base_url}/anthropic",
                }
            ),
            "LAVA_LOG_LEVEL": "warning",
        }
        code, made = await _run(environment, "init", "--json", "--wallet-limit", wallet_limit)
        if code:
            raise RuntimeError("lava-grpc init failed")
        merchant = json.loads(made)
        server = await asyncio.create_subprocess_exec(
            *_command("serve", "--json"), env=environment, stdout=asyncio.subprocess.PIPE
        )
        try:
            if server.stdout is None or not (line := await server.stdout.readline()):
                raise RuntimeError("lava-grpc serve did not start")
            addresses = json.loads(line)
            yield Stack(
                grpc_address=addresses["grpc_address"],
                http_url=f"http://{addresses['http_address']}",
                merchant_id=merchant["merchant_id"],
                secret_key=merchant["secret_key"],
                provider=provider,
                environment=environment,
            )
        finally:
            if server.returncode is None:
                server.terminate()
            async with asyncio.timeout(STOP_SECONDS_MAX):
                await server.wait()


async def _run(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *_command(*arguments), env=environment, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "lava_grpc.cli", *arguments]
