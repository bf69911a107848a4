"""A spend key asks after its own work alone; secret keys after all of the merchant's."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.integration.forward.calls import VERSION, forward, path
from tests.integration.forward.test_jobs import (
    ANTHROPIC,
    BACKGROUND,
    OPENAI,
    USED,
    begun,
    get,
    response,
    script,
)
from tests.support.service import Running, running

ONE = f"{OPENAI}/responses/resp_1"
BATCH = {"id": "batch_1", "object": "batch", "status": "validating"}
ASKED = {"input_file_id": "file-in", "endpoint": "/v1/chat/completions"}
DONE = {**BATCH, "status": "completed", "output_file_id": "file-out"}
LINE = (
    b'{"custom_id": "1", "response": {"body": {"object": "chat.completion", "model": "gpt-4o-mini",'
    b' "usage": {"prompt_tokens": 3, "completion_tokens": 12, "total_tokens": 15}}}}\n'
)


async def made(on: Running, **facts: object) -> dict[str, Any]:
    """A new spend key."""
    key: dict[str, Any] = await on.rest("POST", "/v1/spend_keys", {"name": "agent", **facts})
    return key


async def asked(on: Running, method: str, url: str, key: dict[str, Any]) -> httpx.Response:
    """A call with a spend key."""
    headers = {"authorization": f"Bearer {key['key']}", **VERSION}
    return await on.http.request(method, path(url), headers=headers)


async def refused(on: Running, method: str, url: str, key: dict[str, Any]) -> str:
    """The words of a refusal that came before the provider was reached."""
    before = on.provider.calls_total
    answer = await asked(on, method, url, key)
    assert answer.status_code == 403, (method, url, answer.text)
    error = answer.json()["error"]
    assert error["code"] == "permission_denied"
    assert on.provider.calls_total == before, (method, url)
    words: str = error["message"]
    return words.replace(key["spend_key_id"], "KEY")


async def background(on: Running, token: str) -> None:
    """Work that was started with a token, and has ended by now."""
    await begun(on, f"{OPENAI}/responses", BACKGROUND, token, "bg", response("queued"))
    for url in (ONE, f"{ONE}/input_items", f"{ONE}?stream=false"):
        script(on, "GET", url, response("completed", usage=USED))
    script(on, "POST", f"{ONE}/cancel", response("cancelled"))
    script(on, "DELETE", ONE, {"id": "resp_1", "deleted": True})


async def test_a_spend_key_may_not_ask_after_another_ones_work(database_url: str) -> None:
    async with running(database_url) as on:
        owner, other = await made(on), await made(on)
        await background(on, owner["key"])
        words = {
            await refused(on, method, url, other)
            for method, url in (
                ("GET", ONE),
                ("GET", f"{ONE}?stream=false"),
                ("GET", f"{ONE}/input_items"),
                ("POST", f"{ONE}/cancel"),
                ("DELETE", ONE),
                # Nor is it told whether there is any such work.
                ("GET", f"{OPENAI}/responses/resp_unknown"),
                ("GET", f"{OPENAI}/batches/batch_unknown"),
                ("GET", f"{OPENAI}/files/file-unknown/content"),
                ("GET", f"{OPENAI}/videos/video_unknown/content"),
                ("POST", f"{OPENAI}/videos/video_unknown/remix"),
            )
        }
        assert words == {"spend key KEY may ask only after work that it started itself"}
        assert (await asked(on, "HEAD", ONE, other)).status_code == 403
        assert (await on.record("bg"))["status"] == "pending"
        assert (await get(on, ONE, owner["key"])).json()["status"] == "completed"
        assert (await on.record("bg"))["status"] == "completed"
        await on.verified()


async def test_its_own_work_may_be_asked_after_once_it_is_settled_too(database_url: str) -> None:
    async with running(database_url) as on:
        owner, other = await made(on), await made(on)
        await background(on, owner["key"])
        for url in (ONE, f"{ONE}/input_items", f"{ONE}?stream=false", ONE):
            assert (await asked(on, "GET", url, owner)).status_code == 200
        await refused(on, "GET", ONE, other)
        found = await on.rest("GET", f"/v1/spend_keys/{owner['spend_key_id']}")
        assert found["total_spend"] == "0.4650000000"
        assert (await asked(on, "DELETE", ONE, owner)).status_code == 200
        await on.verified()


async def test_a_key_of_another_text_is_the_same_key(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        owner = await made(on)
        await background(on, owner["key"])
        again = await on.rest("POST", f"/v1/spend_keys/{owner['spend_key_id']}/rotate", {})
        assert (await asked(on, "GET", ONE, again)).status_code == 200


async def test_a_spend_key_may_not_ask_after_the_merchants_work(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        key = await made(on)
        await background(on, on.secret_key)
        await refused(on, "GET", ONE, key)
        await refused(on, "POST", f"{ONE}/cancel", key)
        # Nor once it is settled, and not known here any more.
        await get(on, ONE)
        await refused(on, "GET", ONE, key)


async def test_a_secret_key_may_ask_after_the_work_of_any_spend_key(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        await background(on, (await made(on))["key"])
        for _ in range(2):
            await get(on, ONE)
        assert (await on.record("bg"))["status"] == "completed"
        script(on, "GET", f"{OPENAI}/batches", {"object": "list", "data": []})
        await get(on, f"{OPENAI}/batches")


async def test_the_results_of_a_batch_are_its_spend_keys(database_url: str) -> None:
    async with running(database_url) as on:
        owner, other = await made(on), await made(on)
        await begun(on, f"{OPENAI}/batches", ASKED, owner["key"], "batch", BATCH)
        script(on, "GET", f"{OPENAI}/batches/batch_1", DONE)
        script(on, "GET", f"{OPENAI}/files/file-out/content", LINE, "application/jsonl")
        await refused(on, "GET", f"{OPENAI}/batches/batch_1", other)
        await get(on, f"{OPENAI}/batches/batch_1", owner["key"])
        await refused(on, "GET", f"{OPENAI}/files/file-out/content", other)
        for _ in range(2):
            await get(on, f"{OPENAI}/files/file-out/content", owner["key"])
            await get(on, f"{OPENAI}/batches/batch_1", owner["key"])
        await refused(on, "GET", f"{OPENAI}/files/file-out/content", other)
        assert (await on.record("batch"))["status"] == "completed"
        await on.verified()


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("GET", "/videos"),
        ("GET", "/batches?limit=100"),
        ("GET", "/responses"),
        ("GET", "/files"),
        ("GET", "/files/file-1"),
        ("DELETE", "/files/file-1"),
        ("GET", "/chat/completions"),
        ("GET", "/chat/completions/chatcmpl-1/messages"),
        ("GET", "/conversations/conv_1/items"),
        ("GET", "/respons%65s/resp_1"),
        ("GET", "/responses/resp_1/more"),
        ("GET", "/query/video_generation?task_id=own&task_id=another"),
        ("POST", "/batches/batch_1"),
        ("POST", "/fine_tuning/jobs/ft_1/cancel"),
        ("POST", "/vector_stores/vs_1/search"),
    ],
)
async def test_a_spend_key_sees_no_lists_and_nothing_that_others_keep(
    sqlite_url: str, method: str, url: str
) -> None:
    async with running(sqlite_url) as on:
        words = await refused(on, method, OPENAI + url, await made(on))
        assert words.endswith("none of what is kept at a provider but its own work")


async def test_the_same_holds_in_anthropics_shape(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        owner = await made(on, request_shape="anthropic")
        other = await made(on, request_shape="anthropic")
        batches = f"{ANTHROPIC}/messages/batches"
        begin = {"id": "msgbatch_1", "type": "message_batch", "processing_status": "in_progress"}
        call = {"model": "claude-sonnet-4-6", "max_tokens": 10, "messages": []}
        body = {"requests": [{"custom_id": "1", "params": call}]}
        await begun(on, batches, body, owner["key"], "batch", begin)
        script(on, "GET", f"{batches}/msgbatch_1", begin)
        for url in (batches, f"{batches}/msgbatch_1", f"{batches}/msgbatch_1/results"):
            await refused(on, "GET", url, other)
        await refused(on, "POST", f"{batches}/msgbatch_1/cancel", other)
        assert (await asked(on, "GET", f"{batches}/msgbatch_1", owner)).status_code == 200


async def test_a_spend_key_may_still_list_models_and_put_files_there(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        key = await made(on)
        for url in (f"{OPENAI}/models", f"{OPENAI}/models/gpt-4o-mini"):
            script(on, "GET", url, {"object": "list", "data": []})
            assert (await asked(on, "GET", url, key)).status_code == 200
        script(on, "POST", f"{OPENAI}/files", {"id": "file-1"})
        answer = await forward(on, f"{OPENAI}/files", {"purpose": "batch"}, token=key["key"])
        assert answer.status_code == 200, answer.text
