"""What a list shows of somebody who is not: nothing, and no error."""

from __future__ import annotations

import httpx
import pytest

from tests.contract.world import World

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("name", ["nobody", "con_test_01ARZ3NDEKTSV4RRFFQ69G5FAV"])
@pytest.mark.parametrize("path", ["payments", "requests", "reservations", "subscriptions"])
async def test_a_list_of_an_unknown_customer_is_empty(path: str, name: str, world: World) -> None:
    async with httpx.AsyncClient(base_url=f"http://{world.http_address}") as client:
        answer = await client.get(
            f"/v1/{path}", headers=dict(world.good), params={"customer_id": name}
        )

    assert answer.status_code == 200, answer.text
    assert answer.json() == {"data": [], "has_more": False, "next_cursor": None}
