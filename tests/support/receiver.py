"""What receives webhooks, on loopback."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Received:
    """One delivery as it arrived."""

    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def event(self) -> str:
        """What happened."""
        name: str = self.body["event"]
        return name

    @property
    def body(self) -> Any:  # noqa: ANN401 - JSON
        """The body as JSON."""
        return json.loads(self.raw)

    def check(self, secret: str) -> None:
        """Fail unless both signatures are good."""
        lava = hmac.new(secret.encode(), self.raw, hashlib.sha256).hexdigest()
        assert hmac.compare_digest(self.headers["X-Webhook-Signature"], lava)
        key = b64decode(secret.removeprefix("whsec_"))
        stamp = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode()
        standard = hmac.new(key, stamp + self.raw, hashlib.sha256).digest()
        assert self.headers["webhook-signature"] == f"v1,{b64encode(standard).decode()}"


@dataclass(slots=True)
class Receiver:
    """Keeps what arrives; answers with `statuses` in turn, then with 200."""

    base_url: str = ""
    host: str = ""
    statuses: list[int] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    silent: bool = False
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until(self, count: int, seconds: float = 20) -> list[Received]:
        """The first deliveries, once there are so many."""
        async with asyncio.timeout(seconds), self._arrived:
            await self._arrived.wait_for(lambda: len(self.received) >= count)
            return self.received[:count]

    async def answer(self, request: web.Request) -> web.Response:
        """Take a delivery."""
        raw = await request.read()
        async with self._arrived:
            self.received.append(Received(request.path, dict(request.headers), raw))
            self._arrived.notify_all()
        if self.silent:
            await self.closing.wait()
        status = self.statuses.pop(0) if self.statuses else 200
        headers = {"Location": "/elsewhere"} if status in (301, 302, 307, 308) else {}
        return web.Response(status=status, headers=headers)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver that listens until the block ends."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.answer)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        receiver.host = f"127.0.0.1:{port}"
        receiver.base_url = f"http://{receiver.host}"
        yield receiver
    finally:
        receiver.closing.set()
        await runner.cleanup()
