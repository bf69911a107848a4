"""Ids in Lava's shape: a prefix, `test_` in test mode, a ULID.

The ULID format (48-bit milliseconds, 80 random bits, Crockford base 32) is
that of github.com/ulid/spec.
"""

from __future__ import annotations

import secrets
from functools import lru_cache

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_HALF = (1 << 40) - 1
# Ten bits at a time: half the divisions of a digit-by-digit encoder.
_PAIRS = tuple(a + b for a in _ALPHABET for b in _ALPHABET)


def encode_ulid(millis: int, randomness: int) -> str:
    """The 26 characters of a ULID from its time and its 80 random bits."""
    return _time_part(millis) + _eight(randomness >> 40) + _eight(randomness & _HALF)


def _eight(value: int) -> str:
    """The 8 characters of 40 bits."""
    return (
        _PAIRS[value >> 30]
        + _PAIRS[value >> 20 & 1023]
        + _PAIRS[value >> 10 & 1023]
        + _PAIRS[value & 1023]
    )


@lru_cache(maxsize=16)
def _time_part(millis: int) -> str:
    """The 10 characters of the time: many ids are made within one millisecond."""
    return _PAIRS[millis >> 40] + _eight(millis & _HALF)


class IdSource:
    """Makes ids that sort by creation within one process, even inside a millisecond."""

    def __init__(self) -> None:
        """Start with fresh randomness."""
        self._millis = 0
        self._randomness = 0

    def ulid(self, now_micros: int) -> str:
        """A new ULID, greater than every earlier one of this source."""
        millis = now_micros // 1000
        if millis > self._millis:
            self._millis = millis
            # One bit short of 80, so that counting up cannot overflow in practice.
            self._randomness = secrets.randbits(79)
        else:
            # A random step keeps ids unguessable while they grow.
            self._randomness += 1 + secrets.randbits(32)
        return encode_ulid(self._millis, self._randomness)
