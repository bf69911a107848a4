"""The OpenAPI document against a running service: nothing breaks, and nothing is undocumented.

Schemathesis makes the calls out of the document: good ones, and ones that break its schemas. The
same ones each time, so that a failure can be had again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS

from lava_grpc.rest.docs import packaged
from tests.support.service import Running, running

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # Schemathesis's own strategies do; the examples are the same each time all the same.
    pytest.mark.filterwarnings("ignore:Do not use the `random` module"),
]

EXAMPLES = 8
STRANGERS_EXAMPLES = 2

DOCUMENT: dict[str, Any] = json.loads(packaged())
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)

_CHECKED = [
    "allow_header_conformance",
    "content_type_conformance",
    "not_a_server_error",
    "response_headers_conformance",
    "response_schema_conformance",
    "status_code_conformance",
    "negative_data_rejection",
]
# Each item of a batch is refused for itself, and the batch answers 200. And an id may be "batch",
# so that GET is allowed there too.
_BATCH = "/batch"
_NOT_OF_BATCHES = frozenset(("allow_header_conformance", "negative_data_rejection"))
# They change what others find.
_LAST = frozenset(("CancelSubscription", "RotateSpendKey"))


@dataclass(frozen=True, slots=True)
class Furnished:
    """A service, and ids that are good there by the name of their path parameter."""

    on: Running
    ids: Mapping[str, str]


def _operations() -> list[Any]:
    """Method and path, those that remove something last."""
    found = [
        (method, path, operation["operationId"])
        for path, item in DOCUMENT["paths"].items()
        for method, operation in item.items()
    ]
    found.sort(key=lambda each: (each[0] == "delete" or each[2] in _LAST, each[1], each[0]))
    return [pytest.param(method, path, id=ident) for method, path, ident in found]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def furnished(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Furnished]:
    url = f"sqlite:///{tmp_path_factory.mktemp('openapi') / 'lava.db'}"
    async with running(url, payment_provider="test") as on:
        yield Furnished(on, await _furnish(on))


async def _furnish(on: Running) -> dict[str, str]:
    meter = await on.meter("openapi", "2")
    customer = await on.customer("100", reference_id="openapi")
    held = await on.rest(
        "POST",
        "/v1/reservations",
        {"request_id": "openapi", "customer_id": customer, "meter_slug": meter, "amount": "1"},
    )
    bundle = {"name": "More", "cost": "5", "credit_amount": "5"}
    plan = {"name": "Plan", "period_amount": "0", "billing_interval": "month"}
    made_plan = await on.rest("POST", "/v1/plans", {**plan, "credit_bundles": [bundle]})
    await on.rest(
        "POST", "/v1/subscriptions", {"customer_id": customer, "plan_id": made_plan["plan_id"]}
    )
    [subscription] = (await on.rest("GET", "/v1/subscriptions"))["data"]
    [credit_bundle] = (await on.rest("GET", "/v1/credit_bundles"))["data"]
    spend_key = await on.rest("POST", "/v1/spend_keys", {"name": "key"})
    return {
        "customer_id": customer,
        "meter_id": meter,
        "request_id": "openapi",
        "reservation_id": held["reservation"]["reservation_id"],
        "plan_id": made_plan["plan_id"],
        "subscription_id": subscription["subscription_id"],
        "credit_bundle_id": credit_bundle["credit_bundle_id"],
        "spend_key_id": spend_key["spend_key_id"],
    }


@pytest.mark.parametrize(("method", "path"), _operations())
async def test_every_answer_is_as_the_document_says(
    method: str, path: str, furnished: Furnished
) -> None:
    key = {"authorization": f"Bearer {furnished.on.secret_key}"}

    await asyncio.to_thread(_try, furnished, method, path, EXAMPLES, key)


@pytest.mark.parametrize(("method", "path"), _operations())
async def test_a_stranger_is_answered_as_the_document_says(
    method: str, path: str, furnished: Furnished
) -> None:
    await asyncio.to_thread(_try, furnished, method, path, STRANGERS_EXAMPLES, {})


async def test_the_document_and_its_page_are_served_to_anybody(furnished: Furnished) -> None:
    async with httpx.AsyncClient(base_url=furnished.on.http_url) as stranger:
        document = await stranger.get("/openapi.json")
        page = await stranger.get("/docs")
        posted = await stranger.post("/docs")

    OpenAPIV31SpecValidator(document.json()).validate()
    assert document.content == packaged()
    assert document.headers["content-type"] == "application/json"
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert posted.status_code == 405
    assert posted.headers["allow"] == "GET"


def _try(
    furnished: Furnished, method: str, path: str, examples: int, headers: dict[str, str]
) -> None:
    operation = SCHEMA[path][method]
    names = [name for name in furnished.ids if f"{{{name}}}" in path]
    known = {name: furnished.ids[name] for name in names}
    good = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    strategies = [good]
    if operation.definition.raw.get("parameters") or operation.definition.raw.get("requestBody"):
        strategies.append(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    if known and len(known) == path.count("{"):
        strategies.append(operation.as_strategy(path_parameters=known))
    excluded: list[Any] = [
        each
        for name in CHECKS.get_all_names()
        if name not in _CHECKED or (path.endswith(_BATCH) and name in _NOT_OF_BATCHES)
        for each in CHECKS.get_by_names([name])
    ]
    missing = "501" in operation.definition.raw["responses"]

    @settings(
        derandomize=True,
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=st.one_of(strategies))
    def calls(case: Case[Any]) -> None:
        if missing:
            assert case.call(base_url=furnished.on.http_url, headers=headers).status_code == 501
            return
        case.call_and_validate(
            base_url=furnished.on.http_url, headers=headers, excluded_checks=excluded
        )

    calls()
