"""TLS and mTLS, over gRPC and REST, with certificates as an operator has them."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc
import grpc.aio
import httpx
import pytest
import pytest_asyncio
from lava.v1 import customer_service_pb2 as customers

from tests.sdk.certificates import Authority, make_authority
from tests.support.process import Caller, Merchant, init, serving


@pytest_asyncio.fixture
async def authority(tmp_path: Path) -> Authority:
    """A root with two certificates."""
    try:
        return await make_authority(tmp_path)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")


async def listed(
    address: str, merchant: Merchant, credentials: grpc.ChannelCredentials | None
) -> grpc.StatusCode:
    """How a call goes that is made with these credentials; None for plain text."""
    channel = (
        grpc.aio.secure_channel(address, credentials)
        if credentials
        else grpc.aio.insecure_channel(address)
    )
    async with channel:
        try:
            await Caller(channel, merchant).call(
                "CustomerService/ListCustomers", customers.ListCustomersRequest()
            )
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


async def got(address: str, merchant: Merchant, context: ssl.SSLContext | None) -> int:
    """The status of a REST call, 0 where no connection is made; without context in plain text."""
    scheme = "https" if context else "http"
    async with httpx.AsyncClient(verify=context or True, timeout=20) as http:
        try:
            answer = await http.get(
                f"{scheme}://{address}/v1/customers",
                headers={"authorization": f"Bearer {merchant.secret_key}"},
            )
        except httpx.TransportError:
            return 0
    return answer.status_code


async def test_tls_is_spoken_on_both_ports(sqlite_url: str, authority: Authority) -> None:
    merchant = await init(sqlite_url)
    async with serving(
        sqlite_url,
        tls_certificate=str(authority.server.certificate),
        tls_key=str(authority.server.key),
    ) as server:
        root = authority.root.certificate
        trusting = grpc.ssl_channel_credentials(root.read_bytes())
        assert await listed(server.grpc_address, merchant, trusting) is grpc.StatusCode.OK
        assert await listed(server.grpc_address, merchant, None) is grpc.StatusCode.UNAVAILABLE
        context = ssl.create_default_context(cafile=root)
        assert await got(server.http_address, merchant, context) == 200
        assert await got(server.http_address, merchant, ssl.create_default_context()) == 0
        assert await got(server.http_address, merchant, None) == 0
        assert await server.terminate() == 0


async def test_with_a_client_ca_callers_show_a_certificate_of_it(
    sqlite_url: str, authority: Authority
) -> None:
    merchant = await init(sqlite_url)
    async with serving(
        sqlite_url,
        tls_certificate=str(authority.server.certificate),
        tls_key=str(authority.server.key),
        tls_client_ca=str(authority.root.certificate),
    ) as server:
        root, client = authority.root.certificate, authority.client
        known = grpc.ssl_channel_credentials(
            root.read_bytes(), client.key.read_bytes(), client.certificate.read_bytes()
        )
        unknown = grpc.ssl_channel_credentials(root.read_bytes())
        assert await listed(server.grpc_address, merchant, known) is grpc.StatusCode.OK
        assert await listed(server.grpc_address, merchant, unknown) is grpc.StatusCode.UNAVAILABLE
        context = ssl.create_default_context(cafile=root)
        assert await got(server.http_address, merchant, context) == 0
        context.load_cert_chain(client.certificate, client.key)
        assert await got(server.http_address, merchant, context) == 200
