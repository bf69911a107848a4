"""The rate limit of the management endpoints, for each API key, and its headers.

In this process: with N worker processes a key that is spread over them all may
make up to N times as many calls. Only keys that proved good are counted, so that
made-up ones can neither fill the memory nor push good ones out of it.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256

from lava_grpc.api.credentials import parse_credential
from lava_grpc.core.budget import RateLimit, pace, pace_left, pace_wait
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.time import SECOND, Clock, Instant
from lava_grpc.rest.errors import refused
from lava_grpc.rest.http import Answer

KEYS_MAX = 10_000
"""How many keys are counted; past it, the one that called longest ago starts afresh."""


class KeyRates:
    """A token bucket for each key, which fills at `per_minute` and holds as many."""

    def __init__(self, per_minute: int, clock: Clock, *, keys_max: int = KEYS_MAX) -> None:
        self._rate = RateLimit(per_minute)
        self._clock = clock
        self._keys_max = keys_max
        self._paced: OrderedDict[bytes, Instant] = OrderedDict()

    def counted(self, credential: str) -> Mapping[str, str]:
        """Count a call; the headers that tell of it, none for a key that is not known yet.

        Raises RATE_LIMITED, which `limited` shows with its headers.
        """
        name = _name(credential)
        paced = None if name is None else self._paced.get(name)
        if name is None or paced is None:
            return {}
        now = self._clock.now()
        wait = pace_wait(paced, self._rate, now)
        if wait > 0:
            raise Refusal(
                Reason.RATE_LIMITED,
                f"this API key may make {self._rate.rpm} calls a minute",
                facts={"limit_per_minute": str(self._rate.rpm)},
                retry_after_seconds=wait / SECOND,
            )
        self._paced[name] = paced = pace(paced, self._rate, now)
        self._paced.move_to_end(name)
        return self._headers(paced, now)

    def limited(self, credential: str, refusal: Refusal) -> Answer:
        """The answer to a call that `counted` refused."""
        told = refused(refusal)
        name = _name(credential)
        now = self._clock.now()
        paced = self._paced.get(name, now) if name is not None else now
        return Answer(told.body, told.status, {**told.headers, **self._headers(paced, now)})

    def good(self, credential: str) -> Mapping[str, str]:
        """Begin to count a key that was let in; the headers that tell of it."""
        name = _name(credential)
        if name is None:
            return {}
        now = self._clock.now()
        # Another call of the key may have begun it meanwhile.
        paced = pace(self._paced.get(name, now), self._rate, now)
        self._paced[name] = paced
        if len(self._paced) > self._keys_max:
            self._paced.popitem(last=False)
        return self._headers(paced, now)

    def _headers(self, paced: Instant, now: Instant) -> Mapping[str, str]:
        return {
            "x-ratelimit-limit": str(self._rate.rpm),
            "x-ratelimit-remaining": str(pace_left(paced, self._rate, now)),
            # When there will be as many as ever again.
            "x-ratelimit-reset": str(math.ceil(max(paced, now) / SECOND)),
        }


def _name(credential: str) -> bytes | None:
    """The key's name: that of the key within a forward token; None for what is no key at all."""
    try:
        key = parse_credential(credential).secret_key.reveal()
    except Refusal:
        return None
    return sha256(key.encode()).digest()
