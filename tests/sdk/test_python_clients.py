"""Official Python clients: each says through the gateway what it says without it.

The fake provider replays the corpus to all of them: what they are told must be what they are told
by it without us, and what the books say must be what the corpus states.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from lava_grpc.testing import Fault, Outcome, Scripted
from tests.corpus import PRICES_FILE, Pair
from tests.sdk.cases import CASES, Case, body_of, path_of, scripted
from tests.sdk.clients import Client, Patience
from tests.sdk.payer import CREDIT, METER, Payer, is_free, recorded
from tests.support.service import Running, running

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore:The model '.*' is deprecated:DeprecationWarning"),
    # Google's client has a session class of its own, and leaves the connection of a stream
    # that was not read to its end to the garbage collector.
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
    pytest.mark.filterwarnings(
        "ignore:.*Connection.__del__:pytest.PytestUnraisableExceptionWarning"
    ),
]

KEYS = {name: f"{name}-platform" for name in CASES}
HOSTS = ("api.mistral.ai", "api.groq.com", "api.together.xyz", "api.cohere.ai", "api.cohere.com")
WILLING = Patience()
STUBBORN = Patience(retries=2)
HASTY = Patience(seconds=0.5)
RESULT = "It rains in Paris."

_JSON = ("content-type", "application/json")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def on(
    tmp_path_factory: pytest.TempPathFactory, template_setup: Callable[[str], None]
) -> AsyncIterator[Running]:
    """One service for all, since each test has a customer of its own."""
    url = f"sqlite:///{tmp_path_factory.mktemp('clients') / 'lava.db'}"
    template_setup(url)
    async with running(url, hosts=HOSTS, provider_keys=KEYS, prices_file=PRICES_FILE) as service:
        await service.meter(METER, "1", rate_type="percentage")
        yield service
        await service.verified()


@pytest_asyncio.fixture(loop_scope="module")
async def payer(on: Running) -> Payer:
    on.provider.reset()
    return Payer(on, await on.customer(CREDIT))


@pytest.fixture(params=list(CASES.values()), ids=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


def told(answer: Any) -> Any:  # noqa: ANN401 - models of the clients'
    """The answer without what HTTP said about it."""
    return answer.model_dump(exclude={"sdk_http_response"})


async def heard(client: Client, pair: Pair) -> list[Any]:
    """All that a client makes of an answer, and at the end the error that it raises, if any."""
    found: list[Any] = []
    try:
        if "stream" in path_of(pair) or body_of(pair).get("stream"):
            async with client.streamed(body_of(pair)) as items:
                async for item in items:
                    found.append(told(item))  # noqa: PERF401 - what came before an error counts
        else:
            found.append(told(await client.ask(body_of(pair))))
    except Exception as error:  # noqa: BLE001 - of each client's own type
        found.append((type(error), getattr(error, "body", None) or str(error)))
    return found


def straight(on: Running, case: Case) -> Any:  # noqa: ANN401 - a client to enter
    """The client at the provider itself."""
    return case.opened(on.provider.base_url + case.straight, "own", WILLING)


def through(payer: Payer, case: Case, patience: Patience = WILLING) -> Any:  # noqa: ANN401
    """The client by way of the gateway."""
    return case.opened(payer.on.http_url + case.paths[0], payer.token, patience)


async def test_everything_published_is_told_as_it_is_told_without_us(
    payer: Payer, case: Case
) -> None:
    fake, problems, charged = payer.on.provider, {}, 0
    async with straight(payer.on, case) as plain, through(payer, case) as client:
        for pair in case.pairs():
            fake.script("POST", path_of(pair), scripted(pair, straight=True))
            fake.fault = Fault()
            expected = await heard(plain, pair)
            fake.script("POST", path_of(pair), scripted(pair))
            # As badly cut as a wire can, or packed as the client allows.
            fake.fault = Fault(bytewise=pair.streamed, gzip=not pair.streamed)
            made = await heard(client, pair)
            records = await payer.records()
            try:
                assert made == expected
                assert len(records) == charged + (not is_free(pair))
                if len(records) > charged:
                    recorded(records[-1], pair)
            except AssertionError as error:
                problems[pair.id] = f"{error!r} {records[-1:]}"
            charged = len(records)
    assert not problems
    assert charged > 0


async def test_every_base_url_leads_to_the_same_call(payer: Payer, case: Case) -> None:
    fake, pair = payer.on.provider, case.whole
    fake.script("POST", path_of(pair), scripted(pair))
    async with straight(payer.on, case) as client:
        expected = told(await client.ask(body_of(pair)))
    for path in case.paths:
        async with case.opened(payer.on.http_url + path, payer.token, WILLING) as client:
            assert told(await client.ask(body_of(pair))) == expected
    plain, *calls = fake.calls
    for call in calls:
        assert call.path.endswith(path_of(pair))
        assert call.json() == plain.json()
        assert payer.token not in str(call.headers)
        assert KEYS[pair.provider.id] in str(call.headers)
    await payer.charged([pair] * len(case.paths))


async def test_a_tool_is_called_and_its_result_is_sent_back(payer: Payer, case: Case) -> None:
    fake, turns = payer.on.provider, (case.tool, case.whole)
    asked = {**body_of(case.tool), "model": body_of(case.whole)["model"]}
    rounds = []
    for opened in (straight(payer.on, case), through(payer, case)):
        # The second turn is another answer of the same endpoint.
        fake.script("POST", path_of(case.tool), *map(scripted, turns))
        async with opened as client:
            call = await client.ask(asked)
            rounds.append([told(call), told(await client.ask(client.said(asked, call, RESULT)))])
    assert rounds[0] == rounds[1]
    assert "get_weather" in str(rounds[1][0])
    # The provider is asked the same with us as without.
    sent = [call.json() for call in fake.calls]
    assert sent[:2] == sent[2:]
    assert RESULT in json.dumps(sent[3])
    await payer.charged(turns)


async def test_the_client_that_blocks(payer: Payer, case: Case) -> None:
    fake, whole, streamed = payer.on.provider, case.whole, case.streamed
    made = []
    for base, key in (
        (fake.base_url + case.straight, "own"),
        (payer.on.http_url + case.paths[0], payer.token),
    ):
        # One endpoint answers both, where they are the same.
        answers = scripted(whole), scripted(streamed, straight=key == "own")
        if path_of(whole) == path_of(streamed):
            fake.script("POST", path_of(whole), *answers)
        else:
            fake.script("POST", path_of(whole), answers[0])
            fake.script("POST", path_of(streamed), answers[1])
        answer, items = await asyncio.to_thread(
            case.ask_blocking, base, key, body_of(whole), body_of(streamed)
        )
        made.append((told(answer), [told(item) for item in items]))
    assert made[0] == made[1]
    await payer.charged([whole, streamed])


async def test_many_at_once(payer: Payer, case: Case) -> None:
    payer.on.provider.script("POST", path_of(case.whole), scripted(case.whole))
    async with through(payer, case) as client:
        await asyncio.gather(*(client.ask(body_of(case.whole)) for _ in range(4)))
    await payer.charged([case.whole] * 4)


async def test_a_call_that_is_tried_again_is_charged_once(payer: Payer, case: Case) -> None:
    fake, pair = payer.on.provider, case.whole
    body = b'{"error":{"message":"later","code":429},"message":"later"}'
    refused = [
        Scripted(status, (_JSON, ("retry-after", "0"), ("retry-after-ms", "5")), (body,))
        for status in (429, 500)
    ]
    fake.script("POST", path_of(pair), *refused, scripted(pair))
    async with through(payer, case, STUBBORN) as client:
        made = await client.ask(body_of(pair))
    tries = [call.header("x-stainless-retry-count") for call in fake.calls]
    # Where the client counts its tries, the provider is told.
    assert tries in ([None] * 3, ["0", "1", "2"])
    assert len({call.body for call in fake.calls}) == 1
    await payer.charged([pair])
    assert (await payer.holds("released"), await payer.holds("settled")) == (2, 1)
    fake.script("POST", path_of(pair), scripted(pair))
    async with straight(payer.on, case) as client:
        assert told(made) == told(await client.ask(body_of(pair)))


async def test_a_client_is_told_when_to_try_again(payer: Payer, case: Case) -> None:
    fake, pair = payer.on.provider, case.whole
    body = b'{"error":{"message":"later","code":429},"message":"later"}'
    fake.script("POST", path_of(pair), Scripted(429, (_JSON, ("retry-after", "7")), (body,)))
    async with through(payer, case) as client:
        with pytest.raises(case.refusal, match="later") as caught:
            await client.ask(body_of(pair))
    error: Any = caught.value
    headers = getattr(error, "headers", None) or error.response.headers
    assert headers["retry-after"] == "7"
    await payer.charged([])


async def test_a_client_that_gives_up_pays_for_what_the_provider_did_and_for_nothing_else(
    payer: Payer, case: Case
) -> None:
    fake, pair = payer.on.provider, case.whole
    fake.script("POST", path_of(pair), scripted(pair))
    # Of two calls that wait for ever, one is answered later, and one never.
    fake.fail_next(Fault(pause_head=True), Fault(pause_head=True, reset=True))
    async with through(payer, case, HASTY) as client:
        asked = (client.ask(body_of(pair)) for _ in range(2))
        errors = await asyncio.gather(*asked, return_exceptions=True)
    for error in errors:
        # Some are errors of the transport's, and one of these has no text.
        assert re.search("(?i)time", f"{type(error).__name__} {error}")
    fake.resume()
    await payer.charged([pair])
    assert (await payer.holds("released"), await payer.holds("settled")) == (1, 1)
    assert {call.outcome for call in fake.calls} == {Outcome.ANSWERED, Outcome.CUT}


@pytest.mark.parametrize("waits", [False, True], ids=["closed", "timed out"])
async def test_a_stream_that_is_left_half_way_is_read_to_its_usage(
    payer: Payer,
    case: Case,
    waits: bool,  # noqa: FBT001
) -> None:
    fake, pair = payer.on.provider, case.streamed
    fake.script("POST", path_of(pair), scripted(pair))
    # After the lines of the first event or two.
    fake.fail_next(Fault(pause_after=4))
    async with through(payer, case, HASTY if waits else WILLING) as client:
        try:
            async with client.streamed(body_of(pair)) as items:
                await anext(items)
                while waits:
                    await anext(items)
        except Exception:  # of each client's own type  # noqa: BLE001
            assert waits
    outcomes = [fake.calls[0].outcome]
    fake.resume()
    await payer.charged([pair])
    outcomes.append(fake.calls[0].outcome)
    assert outcomes == [Outcome.OPEN, Outcome.ANSWERED]


async def test_out_of_credit_is_the_clients_status_error(on: Running, case: Case) -> None:
    on.provider.calls.clear()
    poor = Payer(on, await on.customer("0.0000000001"))
    async with through(poor, case) as client:
        with pytest.raises(case.refusal) as caught:
            await client.ask(body_of(case.whole))
    error: Any = caught.value
    assert 402 in (getattr(error, name, None) for name in ("status_code", "code"))
    assert "insufficient_credits" in f"{error} {getattr(error, 'body', None)}"
    assert not on.provider.calls
