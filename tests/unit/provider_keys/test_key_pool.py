"""Whose turn it is among several keys, and which of them rest."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lava_grpc.gateway import key_pool
from lava_grpc.gateway.key_pool import DENIED_SECONDS, LIMITED_SECONDS, KeyTurns, PooledKey

# 2023-11-14T22:13:20Z
WALL = 1_700_000_000.0


@dataclass
class Turns:
    """Turns on a clock that a test moves."""

    seconds: float = 1000.0
    turns: KeyTurns = field(init=False)

    def __post_init__(self) -> None:
        self.turns = KeyTurns(lambda: self.seconds, lambda: WALL)

    def choose(self, pool: tuple[PooledKey, ...]) -> str:
        return self.turns.choose(pool).ident

    def refused(self, ident: str, status: int, **headers: str) -> None:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        self.turns.answered(ident, status, given)

    def rest_of(self, ident: str) -> float:
        """How long the key is passed over, to a hundredth of a second."""
        pool = (PooledKey(ident, "s"), PooledKey("other", "s", 1000))
        low, high = 0.0, 10_000.0
        start = self.seconds
        while high - low > 0.001:
            self.seconds = start + (low + high) / 2
            passed_over = all(self.choose(pool) == "other" for _ in range(1002))
            low, high = ((low + high) / 2, high) if passed_over else (low, (low + high) / 2)
        return round(high, 2)


def pool(*weights: int) -> tuple[PooledKey, ...]:
    return tuple(PooledKey("abcdef"[i], f"secret-{i}", w) for i, w in enumerate(weights))


def test_weights_are_shares_and_turns_are_spread() -> None:
    turns, keys = Turns(), pool(5, 1, 1)
    assert "".join(turns.choose(keys) for _ in range(14)) == "aabacaaaabacaa"


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=6))
def test_a_whole_round_has_each_key_as_often_as_it_weighs(weights: list[int]) -> None:
    turns, keys = Turns(), pool(*weights)
    assert Counter(turns.choose(keys) for _ in range(sum(weights))) == dict(
        zip("abcdef", weights, strict=False)
    )


def test_equal_keys_take_turns_one_after_the_other() -> None:
    turns, keys = Turns(), pool(1, 1, 1)
    chosen = [turns.choose(keys) for _ in range(30)]
    assert all(one != other for one, other in pairwise(chosen))


def test_a_key_that_was_limited_rests_and_comes_back() -> None:
    turns, keys = Turns(), pool(1, 1)
    turns.refused("a", 429, retry_after="7")
    assert {turns.choose(keys) for _ in range(10)} == {"b"}
    turns.seconds += 6.9
    assert {turns.choose(keys) for _ in range(10)} == {"b"}
    turns.seconds += 0.2
    assert {turns.choose(keys) for _ in range(10)} == {"a", "b"}


def test_one_that_rested_does_not_make_up_for_its_turns() -> None:
    turns, keys = Turns(), pool(1, 1)
    turns.refused("a", 429, retry_after="7")
    for _ in range(1000):
        turns.choose(keys)
    turns.seconds += 8
    assert Counter(turns.choose(keys) for _ in range(10)) == {"a": 5, "b": 5}


def test_where_all_rest_the_one_that_is_ready_soonest_is_used() -> None:
    turns, keys = Turns(), pool(9, 1, 1)
    turns.refused("a", 401)
    turns.refused("b", 429, retry_after="2")
    turns.refused("c", 429, retry_after="3")
    assert {turns.choose(keys) for _ in range(5)} == {"b"}


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, {}, LIMITED_SECONDS),
        (429, {"retry_after": "2"}, 2),
        (429, {"retry_after": "0.5"}, 0.5),
        (429, {"retry_after_ms": "1500", "retry_after": "9"}, 1.5),
        (429, {"retry_after": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30),
        (429, {"retry_after": "Tue, 14 Nov 2023 22:13:50 -0000"}, 30),
        (429, {"retry_after": "soon"}, LIMITED_SECONDS),
        (429, {"retry_after": "-3"}, LIMITED_SECONDS),
        (429, {"retry_after": "1e9"}, LIMITED_SECONDS),
        (429, {"retry_after": "999999999"}, 3600),
        # Dates that overflow, in their zone and in their day.
        (429, {"retry_after": "Tue, 14 Nov 2023 22:13:50 +99999999999999"}, LIMITED_SECONDS),
        (429, {"retry_after": f"Tue, {'9' * 20} Nov 2023 22:13:50 GMT"}, LIMITED_SECONDS),
        (401, {"retry_after": "1"}, DENIED_SECONDS),
        (403, {}, DENIED_SECONDS),
    ],
)
def test_a_rest_is_as_long_as_the_provider_asks_within_bounds(
    status: int, headers: dict[str, str], seconds: float
) -> None:
    turns = Turns()
    turns.refused("a", status, **headers)
    assert turns.rest_of("a") == pytest.approx(seconds, abs=0.02)


@pytest.mark.parametrize("status", [200, 400, 404, 408, 500, 503, 529])
def test_other_answers_rest_no_key(status: int) -> None:
    turns, keys = Turns(), pool(1, 1)
    turns.refused("a", status, retry_after="60")
    assert {turns.choose(keys) for _ in range(4)} == {"a", "b"}


def test_a_date_that_has_passed_is_no_rest() -> None:
    turns, keys = Turns(), pool(1, 1)
    turns.refused("a", 429, retry_after="Tue, 14 Nov 2023 22:00:00 GMT")
    assert {turns.choose(keys) for _ in range(4)} == {"a", "b"}


def test_what_is_remembered_is_bounded() -> None:
    turns = KeyTurns(lambda: 1.0, lambda: WALL, states_max=10)
    for number in range(100):
        pair = tuple(PooledKey(f"{number} {which}", "s") for which in range(2))
        assert turns.choose(pair) in pair
    assert len(turns._states) == 10  # noqa: SLF001 - that nothing grows is the point
    assert key_pool.STATES_MAX > 2 * 100


def test_secrets_show_in_no_key() -> None:
    assert "secret-0" not in repr(pool(1))
