"""Tools that know nothing of our protos call us: what they need, reflection tells them."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from google.rpc import error_details_pb2
from lava.v1 import credit_service_pb2 as credit
from lava.v1 import customer_service_pb2 as customers

from tests.support.process import Finished, Merchant, ServerProcess, calling, init, serving

AUTHORIZE = "lava.v1.GatewayService/Authorize"


@dataclass(frozen=True, slots=True)
class Served:
    """A server with a customer of one unit's credit."""

    server: ServerProcess
    merchant: Merchant

    @property
    def authorization(self) -> str:
        return f"authorization: Bearer {self.merchant.secret_key}"


@pytest_asyncio.fixture
async def served(sqlite_url: str) -> AsyncIterator[Served]:
    merchant = await init(sqlite_url)
    async with serving(sqlite_url) as server:
        async with calling(server.grpc_address, merchant) as caller:
            new = customers.CreateCustomerRequest(reference_id="ada")
            await caller.call("CustomerService/CreateCustomer", new)
            await caller.call(
                "CreditService/CreateCreditGrant",
                credit.CreateCreditGrantRequest(customer_id="ada", amount="1"),
            )
        yield Served(server, merchant)


async def ran(*command: str) -> Finished:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return Finished(process.returncode or 0, out.decode(), err.decode())


def asked(amount: str) -> str:
    return json.dumps({"customer_id": "ada", "amount": amount, "request_id": f"for-{amount}"})


def detail(text: str, kind: str) -> dict[str, Any]:
    """A detail of an error, in JSON that has the error's `details`."""
    found = [one for one in json.loads(text)["details"] if str(one).find(kind) >= 0]
    assert found, text
    first: dict[str, Any] = found[0]
    return first


async def test_grpcurl_lists_the_services(grpcurl: str, served: Served) -> None:
    done = await ran(grpcurl, "-plaintext", served.server.grpc_address, "list")
    assert done.code == 0, done
    assert {
        "lava.v1.GatewayService",
        "grpc.health.v1.Health",
        "grpc.channelz.v1.Channelz",
    } <= set(done.out.split())
    symbol = AUTHORIZE.partition("/")[0]
    described = await ran(grpcurl, "-plaintext", served.server.grpc_address, "describe", symbol)
    assert "lava.v1.AuthorizeRequest" in described.out


async def test_grpcurl_checks_health(grpcurl: str, served: Served) -> None:
    done = await ran(
        grpcurl, "-plaintext", served.server.grpc_address, "grpc.health.v1.Health/Check"
    )
    assert json.loads(done.out) == {"status": "SERVING"}


async def test_grpcurl_authorizes_and_sees_why_not(grpcurl: str, served: Served) -> None:
    plain = (grpcurl, "-plaintext", "-format-error", "-H", served.authorization)
    address = served.server.grpc_address
    done = await ran(*plain, "-d", asked("0.75"), address, AUTHORIZE)
    assert done.code == 0, done
    answer = json.loads(done.out)
    assert answer["reservation"]["amount"] == "0.7500000000"
    assert answer["available"] == "0.2500000000"
    done = await ran(*plain, "-d", asked("0.5"), address, AUTHORIZE)
    assert done.code != 0
    info = detail(done.err, "ErrorInfo")
    assert (info["reason"], info["domain"]) == ("INSUFFICIENT_CREDITS", "lava")
    assert info["metadata"]["available"] == "0.2500000000"


def buf_curl(served: Served, rpc: str, *more: str) -> list[str]:
    buf = shutil.which("buf", path=str(Path(sys.executable).parent)) or shutil.which("buf")
    if buf is None:
        pytest.skip("buf is not installed")
    url = f"http://{served.server.grpc_address}/{rpc}"
    known = ["--protocol", "grpc", "--http2-prior-knowledge", "--reflect"]
    return [buf, "curl", *known, "--header", served.authorization, *more, url]


async def test_buf_curl_checks_health(served: Served) -> None:
    done = await ran(*buf_curl(served, "grpc.health.v1.Health/Check", "--data", "{}"))
    assert done.code == 0, done
    assert json.loads(done.out) == {"status": "SERVING"}


async def test_buf_curl_authorizes_and_sees_why_not(served: Served) -> None:
    done = await ran(*buf_curl(served, AUTHORIZE, "--data", asked("0.75")))
    assert done.code == 0, done
    assert json.loads(done.out)["reservation"]["amount"] == "0.7500000000"
    done = await ran(*buf_curl(served, AUTHORIZE, "--data", asked("0.5")))
    assert done.code != 0
    refused = json.loads(done.err)
    assert refused["code"] == "failed_precondition"
    value = detail(done.err, "google.rpc.ErrorInfo")["value"]
    info = error_details_pb2.ErrorInfo.FromString(base64.b64decode(value + "=="))
    assert (info.reason, info.domain) == ("INSUFFICIENT_CREDITS", "lava")


async def test_buf_curl_lists_the_services(served: Served) -> None:
    done = await ran(*buf_curl(served, "", "--list-services"))
    assert done.code == 0, done
    assert {"lava.v1.GatewayService", "grpc.health.v1.Health"} <= set(done.out.split())
