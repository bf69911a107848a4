"""Secrets at rest: in no row of the database, in no log, good for no other row."""

from __future__ import annotations

import base64
from typing import Any

import grpc
import pytest
from lava.v1 import provider_key_service_pb2 as pb
from lava.v1 import provider_key_service_pb2_grpc as stubs
from sqlalchemy import create_engine, select, text, update

from lava_grpc.store import schema
from tests.integration.forward.calls import chat, forward, over_grpc, request
from tests.integration.provider_keys.keys import (
    NEW_KEY,
    OLD_KEY,
    SECRET,
    bearers,
    stored,
    storing,
)
from tests.support.service import Running

ROTATED = "sk-merchant-rotated-9876-wxyz"
AWS_SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"
AWS = f"AKIAIOSFODNN7EXAMPLE:{AWS_SECRET}"
# The columns that lists show.
_keys = schema.provider_keys.c


def _dumped(url: str) -> str:
    """Every value of every table there is, not only of ours."""
    engine = create_engine(url)
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            tables = "SELECT name FROM sqlite_master WHERE type = 'table'"
        else:
            tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        names = [row[0] for row in connection.execute(text(tables))]
        assert "provider_keys" in names
        rows = [
            repr(tuple(row))
            for name in names
            for row in connection.execute(text(f'SELECT * FROM "{name}"'))  # noqa: S608 - our tables
        ]
    engine.dispose()
    return "\n".join(rows)


def _spellings(secret: str) -> list[str]:
    raw = secret.encode()
    # Base64 at each of the three places that it can begin at, less its ragged ends.
    inside = [base64.b64encode(b"x" * pad + raw).decode()[4:-4] for pad in range(3)]
    return [secret, raw.hex(), *inside]


async def test_no_secret_is_in_the_database_the_answers_or_the_logs(
    database_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async with storing(database_url, log_level="debug") as on:
        key = await stored(on)
        answers: list[object] = [key, await stored(on, AWS, provider="bedrock")]
        path = f"/v1/provider_keys/{key['provider_key_id']}"
        body = {"name": "n", "provider": "openai", "key": SECRET}
        for _ in range(2):
            kept = await on.http.post(
                "/v1/provider_keys", json=body, headers={"idempotency-key": "once"}
            )
            answers.append(kept.json())
        await forward(on)
        for _ in range(2):
            await on.rest("POST", f"{path}/rotate", {"key": ROTATED})
        await forward(on, headers={"x-fake-status": "401"})
        await forward(on, headers={"x-fake-reset": "1"})
        await over_grpc(on, request(provider_key="sk-callers-own-0123456789"))
        answers.append(await on.rest("GET", "/v1/provider_keys"))
        answers.append(await on.rest("GET", "/v1/requests"))
        for bad in (
            {"key": SECRET + " "},
            {"key": SECRET, "provider": "nobody"},
            {"key": "{" + AWS},
            {"key": {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": AWS_SECRET}},
            {"key": [SECRET]},
            {"name": [SECRET]},
            {"weight": SECRET},
            {"status": SECRET},
            {"provider": SECRET},
        ):
            refused = await on.http.post("/v1/provider_keys", json=body | bad)
            assert refused.status_code == 400
            answers.append(refused.json())
        stub = stubs.ProviderKeyServiceStub(on.channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.CreateProviderKey(
                pb.CreateProviderKeyRequest(name="n", provider="openai", key=SECRET + "\n"),
                metadata=on.metadata,
            )
        answers.append(str(caught.value))
        await on.verified()
    seen = _dumped(database_url) + str(answers) + "".join(capfd.readouterr())
    assert "AKIAIOSFODNN7EXAMPLE" not in seen
    for secret in (
        SECRET,
        ROTATED,
        AWS_SECRET,
        "sk-callers-own-0123456789",
        "sk-platform",
        NEW_KEY,
    ):
        assert [spelled for spelled in _spellings(secret) if spelled in seen] == []
    assert SECRET in on.provider.calls[0].header("authorization")  # type: ignore[operator]


async def test_a_secret_that_was_moved_to_another_row_is_good_for_nothing(
    database_url: str,
) -> None:
    async with storing(database_url, key_cache_seconds=0) as on:
        ours = await stored(on)
        other = await stored(on, "sk-other-0123456789-wxyz", provider="anthropic")
        await forward(on)
        _copy_secret(database_url, other["provider_key_id"], ours["provider_key_id"])
        refused = await forward(on)
        # Nor does the call fall back on the platform's key, which the merchant would pay for.
        assert refused.status_code == 501
        assert ours["provider_key_id"] in refused.json()["error"]["message"]
        assert bearers(on) == [SECRET]
        await on.rest("DELETE", f"/v1/provider_keys/{ours['provider_key_id']}")
        assert (await forward(on)).status_code == 200


def _copy_secret(url: str, from_id: str, to_id: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        one = select(_keys.sealed).where(_keys.provider_key_id == from_id)
        sealed = connection.execute(one).scalar_one()
        to = update(schema.provider_keys).where(_keys.provider_key_id == to_id)
        connection.execute(to.values(sealed=sealed))
    engine.dispose()


async def _key_of(on: Running) -> Any:  # noqa: ANN401 - JSON
    return (await on.rest("GET", "/v1/provider_keys"))["data"][0]


async def test_encryption_keys_are_replaced_one_after_the_other(database_url: str) -> None:
    async with storing(database_url, key_encryption_keys=OLD_KEY) as on:
        await stored(on)
        token = on.secret_key
        await forward(on)

    async def answered(keys: str) -> int:
        async with storing(database_url, key_encryption_keys=keys) as on:
            # `running` makes a merchant of its own: the first one's key is used.
            answer = await forward(on, body=chat(), token=token)
            if answer.status_code == 200:
                assert bearers(on) == [SECRET]
            return answer.status_code

    assert await answered(f"{NEW_KEY},{OLD_KEY}") == 200
    assert await answered(NEW_KEY) == 501
    assert await answered("") == 501
