"""Several keys for one provider: whose turn it is, and which of them rest for a while.

Smooth weighted round robin among the keys that are not resting. If all rest, the
one that is ready soonest is used all the same: a call is never refused for it.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LIMITED_SECONDS = 5.0
"""How long a key rests after a 429 that does not say how long."""

DENIED_SECONDS = 300.0
"""How long a key rests after a 401 or 403: somebody has to see to it."""

REST_SECONDS_MAX = 3600.0
"""The longest rest, whatever a provider asks for."""

STATES_MAX = 50_000
"""The most keys whose turns and rests are remembered; past it, the longest unused is new again."""

_LIMITED, _DENIED = 429, frozenset((401, 403))
_NUMBER = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class PooledKey:
    """One key of a pool. `ident` tells it from every other, and from itself before a rotation."""

    ident: str
    secret: str = field(repr=False)
    weight: int = 1
    # The stored key that it is; None for the platform's own.
    provider_key_id: str | None = None


Pool = Sequence[PooledKey]


@dataclass(slots=True)
class _State:
    turn: int = 0
    ready_at: float = 0.0


class KeyTurns:
    """Chooses among keys, and hears what became of them. State is this process's own.

    `now` is a monotonic clock in seconds; `wall_seconds` is the time of day, for answers
    that name a moment.
    """

    def __init__(
        self,
        now: Callable[[], float],
        wall_seconds: Callable[[], float],
        *,
        states_max: int = STATES_MAX,
    ) -> None:
        self._now = now
        self._wall_seconds = wall_seconds
        self._states_max = states_max
        self._states: OrderedDict[str, _State] = OrderedDict()

    def choose(self, pool: Pool) -> PooledKey:
        """The key whose turn it is; `pool` has at least one."""
        if len(pool) == 1:
            return pool[0]
        now = self._now()
        states = [self._state(key.ident) for key in pool]
        ready = [index for index, state in enumerate(states) if state.ready_at <= now]
        if not ready:
            return pool[min(range(len(pool)), key=lambda index: states[index].ready_at)]
        total = 0
        for index in ready:
            weight = pool[index].weight
            states[index].turn += weight
            total += weight
        best = max(ready, key=lambda index: states[index].turn)
        states[best].turn -= total
        return pool[best]

    def answered(self, ident: str, status: int, headers: Mapping[str, str]) -> None:
        """A provider answered a call with this key; header names are lower-case."""
        if status == _LIMITED:
            seconds = self._asked(headers)
        elif status in _DENIED:
            seconds = DENIED_SECONDS
        else:
            return
        self._state(ident).ready_at = self._now() + min(seconds, REST_SECONDS_MAX)

    def _asked(self, headers: Mapping[str, str]) -> float:
        """For how long the answer asks to be left alone."""
        millis = headers.get("retry-after-ms", "").strip()
        if _NUMBER.fullmatch(millis):
            return float(millis) / 1000
        after = headers.get("retry-after", "").strip()
        if _NUMBER.fullmatch(after):
            return float(after)
        try:
            moment = parsedate_to_datetime(after)
        except (ValueError, OverflowError):
            return LIMITED_SECONDS
        return max(_utc(moment).timestamp() - self._wall_seconds(), 0.0)

    def _state(self, ident: str) -> _State:
        state = self._states.get(ident)
        if state is None:
            state = self._states[ident] = _State()
            if len(self._states) > self._states_max:
                self._states.popitem(last=False)
        else:
            self._states.move_to_end(ident)
        return state


def _utc(moment: datetime) -> datetime:
    # "-0000" and no zone at all give a moment without one.
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
