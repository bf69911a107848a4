"""Serves the shim with uvicorn, in the event loop that gRPC runs in."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import uvicorn
from typing_extensions import override

from lava_grpc.rest.app import App

BACKLOG = 2048
KEEP_ALIVE_SECONDS = 75


@dataclass(frozen=True, slots=True)
class HttpTls:
    """PEM files; with `client_ca`, callers must show a certificate of it."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


class RestServer:
    """One listening address. `start` gives the port that it got.

    With `reuse_port` other processes may listen there too, and share its connections.
    """

    def __init__(
        self,
        app: App,
        *,
        host: str,
        port: int,
        tls: HttpTls | None = None,
        reuse_port: bool = False,
    ) -> None:
        self._app = app
        self._reuse_port = reuse_port
        self._host = host
        self._port = port
        self._server = _Embedded(
            uvicorn.Config(
                cast("Any", app),
                http="httptools",
                loop="none",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                # A provider's own pass through.
                date_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                h11_max_incomplete_event_size=None,
                ssl_certfile=str(tls.certificate) if tls else None,
                ssl_keyfile=str(tls.key) if tls else None,
                ssl_ca_certs=str(tls.client_ca) if tls and tls.client_ca else None,
                ssl_cert_reqs=ssl.CERT_REQUIRED if tls and tls.client_ca else ssl.CERT_NONE,
            )
        )
        self._serving: asyncio.Task[None] | None = None

    @property
    def in_flight(self) -> int:
        """How many calls are being answered."""
        return self._app.in_flight

    async def start(self) -> int:
        """Bind and serve; the port. Raises OSError where the address cannot be had."""
        listener = _bound(self._host, self._port, reuse_port=self._reuse_port)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        port: int = listener.getsockname()[1]
        while not self._server.started:
            if self._serving.done():
                await self._serving
                raise OSError("the HTTP server did not start")
            await asyncio.sleep(0)
        return port

    async def stop(self, grace_seconds: float) -> None:
        """Take no more calls, let those that run finish for `grace_seconds`, then cut them."""
        if self._serving is None:
            return
        self._server.config.timeout_graceful_shutdown = max(1, round(grace_seconds))
        self._server.should_exit = True
        await self._serving
        self._serving = None


class _Embedded(uvicorn.Server):
    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Signals are the process's business, not one server's.
        yield


def _bound(host: str, port: int, *, reuse_port: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host.strip("[]"), port))
        listener.listen(BACKLOG)
        listener.setblocking(False)  # noqa: FBT003 - its only argument
    except BaseException:
        listener.close()
        raise
    return listener
