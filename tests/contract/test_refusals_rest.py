"""Every refusal of the table that HTTP can spell, over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from google.api import annotations_pb2
from google.protobuf import json_format
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message

from lava_grpc.api.status import TABLE
from tests.contract.case import Case
from tests.contract.refusals import CASES
from tests.contract.world import World

pytestmark = pytest.mark.asyncio(loop_scope="session")


def _spelled(request: Message) -> dict[str, Any]:
    """The message in our JSON: numbers as numbers, no mask."""
    made = json_format.MessageToDict(request, preserving_proto_field_name=True)
    for field in request.DESCRIPTOR.fields:
        if field.cpp_type == field.CPPTYPE_INT64 and field.name in made:
            made[field.name] = int(made[field.name])
        if field.message_type is not None and not field.is_repeated and field.name in made:
            name = field.message_type.full_name
            if name.startswith("lava."):
                made[field.name] = _spelled(getattr(request, field.name))
    made.pop("update_mask", None)
    return made


def _over_http(case: Case) -> tuple[str, str, dict[str, Any]] | None:
    """Method, path and fields; None where HTTP cannot spell the call."""
    if "update_mask" in {field.name for field, _ in case.request.ListFields()}:
        return None
    try:
        fields = _spelled(case.request)
    except (json_format.Error, ValueError, OverflowError):
        return None
    method = Default().FindMethodByName(f"lava.v1.{case.rpc.replace('/', '.')}")
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern")
    if verb is None:
        return None
    path: str = getattr(rule, verb)
    for name in list(fields):
        if f"{{{name}}}" in path:
            path = path.replace(f"{{{name}}}", quote(str(fields.pop(name)), safe=""))
    return None if "{" in path else (verb.upper(), path, fields)


def _spellable() -> Iterator[Any]:
    for index, case in enumerate(CASES):
        if (spelled := _over_http(case)) is not None:
            yield pytest.param(case, *spelled, id=f"{index}-{case.name}")


async def test_http_can_spell_nearly_all_of_the_table() -> None:
    assert len(list(_spellable())) > 0.9 * len(CASES)


@pytest.mark.parametrize(("case", "verb", "path", "fields"), list(_spellable()))
async def test_bad_input_is_refused_alike_over_http(
    case: Case, verb: str, path: str, fields: dict[str, Any], world: World
) -> None:
    async with httpx.AsyncClient(base_url=f"http://{world.http_address}") as client:
        answer = await client.request(
            verb,
            path,
            headers=dict(world.good),
            params=fields if verb in ("GET", "DELETE") else None,
            json=fields if verb not in ("GET", "DELETE") else None,
        )
    error = answer.json()["error"]
    assert error["code"] == case.reason.lower(), error
    assert answer.status_code == error["status"] == TABLE[case.reason].http
    if case.field is not None:
        assert error["field"] == case.field
