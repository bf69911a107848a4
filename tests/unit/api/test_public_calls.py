"""The RPCs that answer anybody."""

from __future__ import annotations

from typing import Any, cast

import pytest
from google.protobuf.message import Message
from lava.v1 import credit_service_pb2, model_service_pb2

from lava_grpc.api.dispatch import ANONYMOUS, PUBLIC, LocalDispatcher
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.gateway.principal import Principal
from lava_grpc.server.services import services

MODELS = "lava.v1.ModelService/ListModels"
WALLET = "lava.v1.CreditService/GetWallet"
GOOD = Principal("mer_1")


class Keys:
    """Knows `good`; cannot tell of `unreadable`."""

    def remembered(self, credential: str, *, spend_keys: bool = False) -> Principal | None:
        del credential, spend_keys
        return None

    async def __call__(self, credential: str, *, spend_keys: bool = False) -> Principal:
        if credential == "unreadable":
            raise Refusal(Reason.STORE_UNAVAILABLE, "away")
        if credential == "spending" and spend_keys:
            return Principal("mer_2")
        if credential != "good":
            raise Refusal(Reason.INVALID_CREDENTIALS, "unknown")
        return GOOD


async def caller(method: str, credential: str) -> Principal:
    """Whom the handler of `method` sees."""
    seen: list[Principal] = []

    async def handler(_request: object, principal: Principal, _deadline: float | None) -> Message:
        seen.append(principal)
        return model_service_pb2.ListModelsResponse()

    to = LocalDispatcher(cast("Any", Keys()), {method: handler}, cast("Any", None))
    request = credit_service_pb2.GetWalletRequest()
    await to.unary(method, request, credential=credential, timeout_seconds=None)
    return seen[0]


@pytest.mark.parametrize("credential", ["", "wrong", "unreadable"])
async def test_a_public_rpc_answers_anybody_as_nobody(credential: str) -> None:
    assert await caller(MODELS, credential) is ANONYMOUS


async def test_a_public_rpc_is_told_of_a_good_credential() -> None:
    assert await caller(MODELS, "good") == GOOD
    assert await caller(MODELS, "spending") == Principal("mer_2")


@pytest.mark.parametrize("credential", ["", "wrong", "unreadable", "spending"])
async def test_every_other_rpc_is_for_those_who_may(credential: str) -> None:
    with pytest.raises(Refusal):
        await caller(WALLET, credential)


def test_what_is_public_is_there_and_few() -> None:
    every = {f"{service.full_name}/{rpc.name}" for service in services() for rpc in service.methods}
    assert every >= PUBLIC
    assert {name.partition("/")[0] for name in PUBLIC} == {"lava.v1.ModelService"}
