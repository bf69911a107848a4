"""The fake itself: a server on loopback, and what a test asks of it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from lava_grpc.testing.fake_provider import fault as faults
from lava_grpc.testing.fake_provider import routing, wire
from lava_grpc.testing.fake_provider.answer import Answer
from lava_grpc.testing.fake_provider.call import SeenCall
from lava_grpc.testing.fake_provider.connection import Connection
from lava_grpc.testing.fake_provider.fault import Fault

HOST = "127.0.0.1"
CALLS_KEPT_MAX = 1000
"""How many calls are remembered; older ones are forgotten first."""

_FRAMING = frozenset(("content-length", "transfer-encoding", "connection"))


@dataclass(frozen=True, slots=True)
class Scripted:
    """A recorded answer: sent as it is, each chunk as an HTTP chunk of its own."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    chunks: tuple[bytes, ...] = ()


class FakeProvider:
    """OpenAI, Anthropic and Google on one loopback port.

    `keys` are the API keys it takes; None takes any that does not begin with
    `invalid`. `port` 0 takes a free one. Serves while it is entered, in the
    running event loop.
    """

    def __init__(self, *, port: int = 0, keys: Collection[str] | None = None) -> None:
        self._port = port
        self._keys = keys
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        self._connections_total = 0
        self._scripts: dict[tuple[str, str], deque[Scripted]] = {}
        self._next: deque[Fault] = deque()
        self._resumed = asyncio.Event()
        self._changed = asyncio.Event()
        # How every answer departs from the plain one; headers of a call win over it.
        self.fault = faults.NONE
        self.calls: deque[SeenCall] = deque(maxlen=CALLS_KEPT_MAX)
        self.calls_total = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, HOST, self._port, backlog=1024)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Drop every connection and listen no more."""
        if self._server is None:
            return
        self._server.close()
        for connection in tuple(self._connections):
            connection.reset()
        await self._server.wait_closed()
        await self.until(lambda: not self._connections)
        self._server = None

    async def serve_forever(self) -> None:
        """Serve until cancelled."""
        if self._server is not None:
            await self._server.serve_forever()

    @property
    def base_url(self) -> str:
        """Where it listens: put `/openai`, `/anthropic` or `/google` behind, or nothing."""
        return f"http://{HOST}:{self._port}"

    @property
    def address(self) -> str:
        """Its `host:port`."""
        return f"{HOST}:{self._port}"

    @property
    def openai_url(self) -> str:
        """The `base_url` of an OpenAI client."""
        return f"{self.base_url}/openai/v1"

    @property
    def anthropic_url(self) -> str:
        """The `base_url` of an Anthropic client."""
        return f"{self.base_url}/anthropic"

    @property
    def google_url(self) -> str:
        """Google's API, to its version."""
        return f"{self.base_url}/google/v1beta"

    @property
    def connections_open(self) -> int:
        """How many connections clients hold to it."""
        return len(self._connections)

    def upstream_map(self) -> dict[str, str]:
        """A value for LAVA_UPSTREAM_MAP that sends the real providers' traffic here."""
        return {
            "api.openai.com": f"{self.base_url}/openai",
            "api.anthropic.com": f"{self.base_url}/anthropic",
            "generativelanguage.googleapis.com": f"{self.base_url}/google",
        }

    def fail_next(self, *each: Fault) -> None:
        """Have the next calls go wrong, one fault each, in the order of their arrival."""
        self._next.extend(each)

    def script(self, method: str, path: str, *each: Scripted) -> None:
        """Answer `method path` (with its query, with or without prefix) so from now on.

        Several are given one after another, and the last of them from then on.
        """
        if not each:
            raise ValueError("a script needs an answer")
        self._scripts[method, path] = deque(each)

    def resume(self) -> None:
        """Let the answers go on that a pause holds, and all later ones."""
        self._resumed.set()

    def reset(self) -> None:
        """Forget scripts, faults and calls; pauses hold answers again."""
        self._scripts.clear()
        self._next.clear()
        self._resumed.clear()
        self.fault = faults.NONE
        self.calls.clear()
        self.calls_total = 0

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition on what the fake saw; tested anew at every change."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    def _connection(self) -> Connection:
        self._connections_total += 1
        connection = Connection(self._serve, self._connections_total, self._lost, self._changed.set)
        self._connections.add(connection)
        return connection

    def _lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._changed.set()

    def _serve(self, call: SeenCall, connection: Connection) -> Coroutine[Any, Any, None] | None:
        self.calls.append(call)
        self.calls_total += 1
        try:
            fault = faults.with_headers(
                self._next.popleft() if self._next else self.fault, call.headers
            )
            found = self._answer(call, fault)
        except (ValueError, TypeError) as error:
            # A request or a fault that makes no sense is a bug of the test's.
            fault, found = faults.NONE, _complaint(error)
        call.status = found.status
        found = wire.shaped(found, fault)
        self._changed.set()
        if fault.plays:
            return wire.play(found, fault, call, connection, self._resumed)
        wire.write(found, connection)
        call.events_sent = len(found.events or (found.body,))
        connection.answered(call)
        return None

    def _answer(self, call: SeenCall, fault: Fault) -> Answer:
        scripted = self._scripted(call) if self._scripts else None
        if scripted is None:
            return routing.answer(call, fault, self.calls_total, self._keys)
        headers = tuple(pair for pair in scripted.headers if pair[0].lower() not in _FRAMING)
        # An empty chunk would be the end of the answer.
        return Answer(scripted.status, headers, events=tuple(filter(None, scripted.chunks)))

    def _scripted(self, call: SeenCall) -> Scripted | None:
        found = self._scripts.get((call.method, call.path)) or self._scripts.get(
            (call.method, routing.without_prefix(call.path))
        )
        if found is None:
            return None
        return found.popleft() if len(found) > 1 else found[0]


def _complaint(error: Exception) -> Answer:
    headers = (("content-type", "text/plain; charset=utf-8"),)
    return Answer(500, headers, f"the fake provider cannot do this: {error}".encode())
