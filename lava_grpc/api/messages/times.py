"""Instants as timestamps, exact to the microsecond."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from lava_grpc.core.errors import invalid
from lava_grpc.core.time import SECOND, Instant

_NANOS_PER_MICRO = 1000
_NANOS_MAX = 999_999_999
# What google.protobuf.Timestamp covers: the years 1 to 9999.
_SECONDS_MIN, _SECONDS_MAX = -62_135_596_800, 253_402_300_799


def to_timestamp(instant: Instant) -> Timestamp:
    """The instant as a Timestamp."""
    return Timestamp(seconds=instant // SECOND, nanos=instant % SECOND * _NANOS_PER_MICRO)


def to_instant(timestamp: Timestamp, field: str) -> Instant:
    """The timestamp cut to whole microseconds; refuses, naming `field`, one out of range."""
    seconds, nanos = timestamp.seconds, timestamp.nanos
    if not (_SECONDS_MIN <= seconds <= _SECONDS_MAX and 0 <= nanos <= _NANOS_MAX):
        raise invalid(field, "must be a time in the years 1 to 9999")
    return seconds * SECOND + nanos // _NANOS_PER_MICRO
