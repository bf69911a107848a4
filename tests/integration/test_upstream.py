"""The client to providers, against the fake provider and against worse."""

from __future__ import annotations

import asyncio
import gzip
import json
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from typing_extensions import override

from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.gateway.aiohttp_upstream import AiohttpUpstream
from lava_grpc.gateway.upstream import Timeouts, Upstream, UpstreamBroken, UpstreamRequest
from lava_grpc.testing import FakeProvider, Fault, Outcome, Scripted

KEY = "sk-very-secret"
CHAT = json.dumps(
    {"model": "gpt-4o", "messages": [{"role": "user", "content": "one two"}]}
).encode()
STREAM = CHAT[:-1] + b',"stream":true}'

QUICK = Timeouts(connect_seconds=5, first_byte_seconds=0.05, idle_seconds=0.05)


@pytest.fixture
async def fake() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as provider:
        yield provider


@asynccontextmanager
async def client(
    *private_hosts: str,
    timeouts: Timeouts | None = None,
    resolver: AbstractResolver | None = None,
    upstream_map: dict[str, str] | None = None,
    connections_max: int = 10,
) -> AsyncIterator[Upstream]:
    upstream = AiohttpUpstream(
        timeouts=timeouts,
        connections_max=connections_max,
        allow_private_hosts=private_hosts,
        upstream_map=upstream_map,
        resolver=resolver,
    )
    await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.close()


def call(
    fake: FakeProvider, body: bytes = CHAT, *, path: str = "/v1/chat/completions"
) -> UpstreamRequest:
    headers = (("authorization", f"Bearer {KEY}"), ("content-type", "application/json"))
    return UpstreamRequest("POST", f"{fake.base_url}{path}", headers, body)


async def read(upstream: Upstream, request: UpstreamRequest) -> bytes:
    answer = await upstream.send(request)
    return b"".join([chunk async for chunk in answer.chunks()])


async def refused(upstream: Upstream, request: UpstreamRequest) -> Refusal:
    """The refusal that a call ends in, which tells no secret, even in its traceback."""
    with pytest.raises(Refusal) as caught:
        await read(upstream, request)
    error = caught.value
    assert error.__cause__ is None
    assert error.__suppress_context__
    assert KEY not in f"{error} {error!r} {error.facts} {request!r}"
    return error


async def test_the_provider_gets_exactly_what_was_given(fake: FakeProvider) -> None:
    headers = (("X-Twice", "1"), ("authorization", f"Bearer {KEY}"), ("X-Twice", "2"))
    path = "/v1/models?a=%2F%20b&c=%7E&d=+"
    async with client(fake.address) as upstream:
        await read(upstream, UpstreamRequest("POST", fake.base_url + path, headers, b"body"))
        await read(upstream, UpstreamRequest("GET", fake.base_url + path, headers[:1]))

    posted, got = fake.calls
    assert posted.path == got.path == path
    assert posted.body == b"body"
    expected = [("host", fake.address), *[(n.lower(), v) for n, v in headers]]
    assert sorted(posted.headers) == sorted([*expected, ("content-length", "4")])
    assert sorted(got.headers) == sorted(expected[:2])


async def test_an_answer_comes_as_the_provider_sent_it(fake: FakeProvider) -> None:
    fake.fail_next(Fault(gzip=True))
    async with client(fake.address) as upstream:
        answer = await upstream.send(call(fake))
        raw = b"".join([chunk async for chunk in answer.chunks()])

    assert answer.status == 200
    assert ("content-encoding", "gzip") in answer.headers
    assert json.loads(gzip.decompress(raw))["object"] == "chat.completion"


async def test_a_providers_error_is_an_answer(fake: FakeProvider) -> None:
    fake.fail_next(Fault(status=500, body="oh"))
    async with client(fake.address) as upstream:
        answer = await upstream.send(call(fake))
        assert answer.status == 500
        assert [chunk async for chunk in answer.chunks()] == [b"oh"]


async def test_redirects_are_not_followed_and_cookies_not_kept(fake: FakeProvider) -> None:
    headers = (("Location", f"{fake.base_url}/v1/elsewhere"), ("Set-Cookie", "a=b; Path=/"))
    fake.script("GET", "/v1/moved", Scripted(302, headers))
    async with client(fake.address) as upstream:
        for _ in range(2):
            answer = await upstream.send(UpstreamRequest("GET", f"{fake.base_url}/v1/moved"))
            await answer.close()
            assert answer.status == 302
            assert set(headers) <= set(answer.headers)

    assert [seen.path for seen in fake.calls] == ["/v1/moved"] * 2
    assert fake.calls[-1].header("cookie") is None


async def test_chunks_arrive_before_the_answer_ends(fake: FakeProvider) -> None:
    fake.fail_next(Fault(pause_after=2))
    async with client(fake.address) as upstream:
        answer = await upstream.send(call(fake, STREAM))
        chunks = answer.chunks()
        first = await anext(chunks)
        assert first.startswith(b"data: ")
        assert fake.calls[-1].outcome is Outcome.OPEN
        fake.resume()
        rest = b"".join([chunk async for chunk in chunks])

    assert rest.endswith(b"data: [DONE]\n\n")


async def test_a_slow_reader_slows_the_provider_down(fake: FakeProvider) -> None:
    fake.fail_next(Fault(huge_bytes=50_000_000))
    async with client(fake.address) as upstream:
        answer = await upstream.send(call(fake))
        chunks = answer.chunks()
        largest = 0
        for _ in range(3):
            largest = max(largest, len(await anext(chunks)))
        # Blocks of 64 KiB: the sockets and one buffer hold far less than this.
        seen = fake.calls[-1]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await fake.until(lambda: seen.events_sent * 65536 > 25_000_000)
        async for chunk in chunks:
            largest = max(largest, len(chunk))

    assert largest <= 1_000_000
    assert fake.calls[-1].outcome is Outcome.ANSWERED


async def test_a_read_answer_gives_its_connection_back(fake: FakeProvider) -> None:
    async with client(fake.address) as upstream:
        for _ in range(3):
            answer = await upstream.send(call(fake))
            assert [chunk async for chunk in answer.chunks()]
            await answer.close()

    assert {seen.connection for seen in fake.calls} == {1}


async def test_closing_an_unread_answer_drops_the_connection(fake: FakeProvider) -> None:
    fake.fail_next(Fault(endless=True))
    async with client(fake.address) as upstream:
        answer = await upstream.send(call(fake, STREAM))
        await anext(answer.chunks())
        await answer.close()
        await fake.until(lambda: fake.calls[-1].outcome is Outcome.GONE)


async def test_cancelling_a_call_drops_the_connection(fake: FakeProvider) -> None:
    fake.fail_next(Fault(delay_ms=60_000))
    async with client(fake.address) as upstream:
        sending = asyncio.create_task(upstream.send(call(fake)))
        await fake.until(lambda: len(fake.calls) == 1)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await fake.until(lambda: fake.calls[-1].outcome is Outcome.GONE)


async def test_a_provider_that_does_not_answer_times_out(fake: FakeProvider) -> None:
    fake.fail_next(Fault(delay_ms=60_000))
    async with client(fake.address, timeouts=QUICK) as upstream:
        error = await refused(upstream, call(fake, path=f"/v1/chat/completions?key={KEY}"))

    assert error.reason is Reason.UPSTREAM_TIMEOUT
    assert error.facts == {"host": "127.0.0.1", "waited_seconds": "0.05"}
    assert fake.calls_total == 1


async def test_a_stream_that_stalls_times_out(fake: FakeProvider) -> None:
    fake.fail_next(Fault(pause_after=2))
    timeouts = Timeouts(connect_seconds=5, first_byte_seconds=5, idle_seconds=0.05)
    async with client(fake.address, timeouts=timeouts) as upstream:
        error = await refused(upstream, call(fake, STREAM))
        await fake.until(lambda: fake.calls[-1].outcome is Outcome.GONE)

    assert error.reason is Reason.UPSTREAM_TIMEOUT


async def test_a_stream_that_never_ends_meets_the_limit_on_all_of_it(fake: FakeProvider) -> None:
    fake.fail_next(Fault(endless=True, chunk_delay_ms=1))
    async with client(fake.address, timeouts=Timeouts(total_seconds=0.2)) as upstream:
        error = await refused(upstream, call(fake, STREAM))

    assert error.reason is Reason.UPSTREAM_TIMEOUT
    assert error.facts["waited_seconds"] == "0.2"


@pytest.mark.parametrize("body", [CHAT, STREAM])
async def test_an_answer_that_breaks_off_is_told_from_one_that_ends(
    fake: FakeProvider, body: bytes
) -> None:
    fake.fail_next(Fault(cut_after=5))
    got = b""
    async with client(fake.address) as upstream:
        answer = await upstream.send(call(fake, body))
        with pytest.raises(UpstreamBroken) as broken:
            got = b"".join([chunk async for chunk in answer.chunks()])

    assert broken.value.reason is Reason.UPSTREAM_FAILED
    assert got == b""
    assert fake.calls_total == 1


async def test_what_arrived_before_an_answer_broke_off_is_read(fake: FakeProvider) -> None:
    async with client(fake.address) as upstream:
        whole = await upstream.send(call(fake, STREAM))
        events = b"".join([chunk async for chunk in whole.chunks()]).split(b"\n\n")
        fake.fail_next(Fault(cut_after=3))
        answer = await upstream.send(call(fake, STREAM))
        # Nothing reads meanwhile: all of it, and that it broke, is there before the first read.
        content = answer._response.content  # type: ignore[attr-defined]  # noqa: SLF001
        async with asyncio.timeout(10):
            while content.exception() is None:  # noqa: ASYNC110 - aiohttp tells nobody of it
                await asyncio.sleep(0)
        got = await answer.read()
        with pytest.raises(UpstreamBroken):
            await answer.read()
        assert list(map(_said, got.split(b"\n\n"))) == [*map(_said, events[:3]), b""]


def _said(event: bytes) -> bytes:
    """The event without its answer's id."""
    return event.partition(b'"choices"')[2]


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
async def test_a_call_that_the_provider_may_have_seen_is_not_sent_again(
    fake: FakeProvider, method: str
) -> None:
    request = UpstreamRequest(
        method, f"{fake.base_url}/v1/models", (("authorization", "Bearer k"),)
    )
    async with client(fake.address) as upstream:
        await read(upstream, request)
        fake.fail_next(Fault(reset=True))
        error = await refused(upstream, request)

    assert error.reason is Reason.UPSTREAM_FAILED
    assert fake.calls_total == 2
    # The call that failed had been sent over a kept connection.
    assert {seen.connection for seen in fake.calls} == {1}


Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def peer(talk: Peer, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server that talks as `talk` does; its `host:port`."""
    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}"


ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def test_a_kept_connection_that_was_closed_is_replaced_without_a_trace() -> None:
    heads: list[bytes] = []

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        # The answer keeps the connection alive, and its end comes right behind.
        writer.write(ANSWER)
        writer.write_eof()
        await writer.drain()
        writer.close()

    async with peer(answer_once) as address, client(address) as upstream:
        for _ in range(20):
            assert await read(upstream, UpstreamRequest("POST", f"http://{address}/")) == b"ok"

    assert len(heads) == 20


def name_of(listener: socket.socket) -> str:
    return f"127.0.0.1:{listener.getsockname()[1]}"


async def test_a_connection_closed_behind_the_event_loops_back_is_not_written_to() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(5)
    address = name_of(listener)
    request = UpstreamRequest("POST", f"http://{address}/", (), b"x")

    def serve() -> socket.socket:
        accepted, _ = listener.accept()
        accepted.recv(65536)
        accepted.sendall(ANSWER)
        return accepted

    async with client(address) as upstream:
        _, first = await asyncio.gather(read(upstream, request), asyncio.to_thread(serve))
        # No await between this and the next call: the loop cannot have seen it.
        first.close()
        body, second = await asyncio.gather(read(upstream, request), asyncio.to_thread(serve))
        second.close()
    listener.close()

    assert body == b"ok"


async def test_a_connection_that_cannot_stand_is_tried_once_more() -> None:
    resolver = CountingResolver(OSError("no such host"))
    async with client(resolver=resolver) as upstream:
        error = await refused(upstream, UpstreamRequest("POST", f"https://x.example/?key={KEY}"))

    assert error.reason is Reason.UPSTREAM_FAILED
    assert error.facts == {"host": "x.example"}
    assert resolver.asked == 2


async def test_a_port_where_nobody_listens_is_an_upstream_that_failed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = name_of(listener)
    async with client(address) as upstream:
        error = await refused(upstream, UpstreamRequest("GET", f"http://{address}/?key={KEY}"))

    assert error.reason is Reason.UPSTREAM_FAILED
    assert error.message == "127.0.0.1 could not be connected to"


async def test_a_certificate_that_does_not_verify_ends_the_call(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl, which makes the certificate, is not installed")
    made = await asyncio.create_subprocess_exec(
        *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"),
        *("-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")),
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await made.wait() == 0
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read())
        writer.close()

    async with peer(listen, context) as address:
        name = address.replace("127.0.0.1", "localhost")
        async with client(name) as upstream:
            error = await refused(upstream, UpstreamRequest("GET", f"https://{name}/?key={KEY}"))

    assert error.message == "localhost has a certificate that does not verify"
    assert heard == []


async def test_what_is_not_http_is_an_upstream_that_failed() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 smtp.example ready\r\n\r\n")
        await writer.drain()
        writer.close()

    async with peer(babble) as address, client(address) as upstream:
        error = await refused(upstream, UpstreamRequest("GET", f"http://{address}/"))

    assert error.reason is Reason.UPSTREAM_FAILED


async def test_waiting_for_a_free_connection_is_bounded(fake: FakeProvider) -> None:
    fake.fail_next(Fault(pause_after=1))
    timeouts = Timeouts(connect_seconds=0.05)
    async with client(fake.address, timeouts=timeouts, connections_max=1) as upstream:
        held = await upstream.send(call(fake, STREAM))
        error = await refused(upstream, call(fake))
        await held.close()

    assert error.reason is Reason.UPSTREAM_TIMEOUT
    assert fake.calls_total == 1


class CountingResolver(AbstractResolver):
    """Resolves every name to one address, or fails, and counts."""

    def __init__(self, found: str | OSError) -> None:
        self.found = found
        self.asked = 0

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        if isinstance(self.found, OSError):
            raise self.found
        return [
            ResolveResult(
                hostname=host, host=self.found, port=port, family=socket.AF_INET, proto=0, flags=0
            )
        ]

    @override
    async def close(self) -> None:
        pass


async def test_a_name_that_turns_to_the_inside_is_refused_at_connect_time(
    fake: FakeProvider,
) -> None:
    resolver = CountingResolver("127.0.0.1")
    port = fake.address.partition(":")[2]
    request = UpstreamRequest("GET", f"http://rebound.example:{port}/?key={KEY}")
    async with client(resolver=resolver) as upstream:
        error = await refused(upstream, request)

    assert error.reason is Reason.UPSTREAM_NOT_ALLOWED
    assert error.facts == {"host": "rebound.example"}
    assert resolver.asked == 1
    assert fake.calls_total == fake.connections_open == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "[::1]"])
async def test_an_address_on_the_inside_is_refused_in_any_spelling(
    fake: FakeProvider, host: str
) -> None:
    port = fake.address.partition(":")[2]
    async with client() as upstream:
        error = await refused(upstream, UpstreamRequest("GET", f"http://{host}:{port}/"))

    assert error.reason is Reason.UPSTREAM_NOT_ALLOWED
    assert fake.calls_total == 0


async def test_a_mapped_base_may_be_on_the_inside(fake: FakeProvider) -> None:
    async with client(upstream_map=fake.upstream_map()) as upstream:
        assert await read(upstream, call(fake, path="/openai/v1/chat/completions"))
