"""`make run`: what it prints works as it stands, and it ends when told to."""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import socket
import sys
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
import pytest_asyncio

from lava_grpc.testing.quickstart_text import BROKE, CUSTOMER
from tests.sdk.quickstart import Quickstart, Ran, running_quickstart, shell

# The tests that only read share one, on the loop that it was started on.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quickstart() -> AsyncIterator[Quickstart]:
    async with running_quickstart() as running:
        yield running


async def test_every_printed_curl_line_works_as_it_stands(quickstart: Quickstart) -> None:
    ran = {line: await shell(line) for line in _curls(quickstart)}
    for line, done in ran.items():
        assert done.code == 0, f"{line}\n{done.out}"
    streamed = [done.out for line, done in ran.items() if "-sSN" in line]
    answers = [json.loads(done.out) for line, done in ran.items() if "-sSN" not in line]
    refused = [answer for answer in answers if "error" in answer]

    assert len(ran) == 8
    assert [out.rstrip().endswith("data: [DONE]") for out in streamed] == [True]
    assert [answer["error"]["code"] for answer in refused] == ["insufficient_credits"]
    assert refused[0]["error"]["status"] == 402
    assert [answer["status"] for answer in answers if "charge" in answer] == ["completed"] * 2
    assert answers[-1]["ok"], answers[-1]
    assert answers[-1]["holds_checked"] >= 3


async def test_the_printed_sdk_line_gets_an_answer(quickstart: Quickstart) -> None:
    line = next(line for line in quickstart.commands if line.startswith("OPENAI_BASE_URL="))

    # It names the interpreter that `make` installs; ours may be elsewhere.
    done = await shell(line.replace(".venv/bin/python", shlex.quote(sys.executable)))

    assert done.code == 0, done.out
    assert len(done.out.split()) == 12


async def test_the_printed_exports_make_the_token_of_the_curl_lines(quickstart: Quickstart) -> None:
    exports = [line for line in quickstart.commands if line.startswith("export ")]

    done = await shell("; ".join([*exports, 'echo "$LAVA_KEY $LAVA_TOKEN"']))

    key, token = done.out.split()
    assert key == quickstart.secret_key
    assert f"Authorization: Bearer {token}" in shlex.split(_curls(quickstart)[0])


async def test_the_printed_buf_lines_work_over_reflection(quickstart: Quickstart) -> None:
    hold, balance = [
        await shell(line) for line in quickstart.commands if line.startswith("buf curl")
    ]

    _held_and_left(hold, balance)


async def test_the_printed_grpcurl_lines_work_over_reflection(
    quickstart: Quickstart, grpcurl: str
) -> None:
    assert grpcurl
    services, hold, balance = [
        await shell(line) for line in quickstart.commands if line.startswith("grpcurl")
    ]

    assert "lava.v1.GatewayService" in services.out.split()
    _held_and_left(hold, balance)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_ends_well_when_told_to(number: signal.Signals) -> None:
    async with running_quickstart() as quickstart:
        port = int(quickstart.http_url.rpartition(":")[2])

        assert await quickstart.stop(number) == 0

        with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
            probe.connect(("127.0.0.1", port))


async def test_a_taken_address_that_was_named_is_told_and_not_replaced() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = await shell(
            f"{shlex.quote(sys.executable)} -m lava_grpc.testing.quickstart",
            LAVA_HTTP_ADDRESS=address,
            LAVA_GRPC_ADDRESS="127.0.0.1:0",
        )

    assert done.code == 1
    assert f"LAVA_HTTP_ADDRESS: {address} is taken" in done.out


async def test_a_default_address_that_is_taken_gives_way_to_a_free_one_and_says_so() -> None:
    with socket.socket() as taken:
        # If somebody has it already, it is taken as well.
        with contextlib.suppress(OSError):
            taken.bind(("127.0.0.1", 50051))
            taken.listen()
        async with running_quickstart(grpc_address=None) as quickstart:
            assert "127.0.0.1:50051 is taken: using a free port instead" in quickstart.printed
            assert quickstart.grpc_address != "127.0.0.1:50051"
            assert await quickstart.stop() == 0


def _curls(quickstart: Quickstart) -> list[str]:
    lines = [line for line in quickstart.commands if line.startswith("curl ")]
    assert any(CUSTOMER in line for line in lines)
    assert BROKE in quickstart.printed
    return lines


def _held_and_left(hold: Ran, balance: Ran) -> None:
    assert hold.code == balance.code == 0, hold.out + balance.out
    held = json.loads(hold.out)["reservation"]
    left = json.loads(balance.out)["balance"]
    assert held["state"] == "RESERVATION_STATE_ACTIVE"
    assert held["amount"] == "0.0120000000"
    # Others may hold beside it.
    assert Decimal(left["held"]) >= Decimal(held["amount"])
