"""Counted units, from a caller and back."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from lava.v1 import gateway_service_pb2, request_record_pb2, usage_pb2

from lava_grpc.core.errors import Refusal, invalid
from lava_grpc.core.money import Amount, format_amount
from lava_grpc.core.usage import COUNT_MAX, MICROS_PER_SECOND, NOTHING, Usage

_SECONDS_MAX: Final = COUNT_MAX // MICROS_PER_SECOND
_COUNTS: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "input_audio_tokens",
    "output_audio_tokens",
    "input_characters",
    "output_characters",
)
# What each is a part of.
_PARTS: Final = (
    ("cache_read_tokens", "input_tokens"),
    ("cache_write_tokens", "input_tokens"),
    ("input_audio_tokens", "input_tokens"),
    ("reasoning_tokens", "output_tokens"),
    ("output_audio_tokens", "output_tokens"),
)

UsageMessage = usage_pb2.Usage | gateway_service_pb2.ReportUsageRequest


def to_usage(message: UsageMessage, path: str = "") -> Usage:
    """The units; `path` (`usage.`) leads the names of fields that are refused.

    Refuses what is negative, not finite, past COUNT_MAX, and a part that is
    more than its whole. Seconds round half-even to a microsecond.
    """
    if not message.ByteSize():
        return NOTHING
    taken, given = message.input_tokens, message.output_tokens
    read, write = message.cache_read_tokens, message.cache_write_tokens
    counts = (
        taken,
        given,
        read,
        write,
        message.reasoning_tokens,
        message.input_audio_tokens,
        message.output_audio_tokens,
        message.input_characters,
        message.output_characters,
    )
    # One look at all of them, since most calls are good; the name is found when it is asked for.
    if min(counts) < 0 or max(counts) > COUNT_MAX:
        raise _first_out_of_range(message, path)
    if read + write > taken or counts[5] > taken or counts[4] > given or counts[6] > given:
        raise _first_part(message, path)
    return Usage(
        input_tokens=taken,
        output_tokens=given,
        cache_read_tokens=read,
        cache_write_tokens=write,
        reasoning_tokens=counts[4],
        input_audio_tokens=counts[5],
        output_audio_tokens=counts[6],
        input_characters=counts[7],
        output_characters=counts[8],
        input_micros=_micros(message.input_seconds, path, "input_seconds"),
        output_micros=_micros(message.output_seconds, path, "output_seconds"),
    )


def _first_out_of_range(message: UsageMessage, path: str) -> Refusal:
    wrong = next(name for name in _COUNTS if not 0 <= getattr(message, name) <= COUNT_MAX)
    return invalid(f"{path}{wrong}", f"must be from 0 to {COUNT_MAX}")


def _first_part(message: UsageMessage, path: str) -> Refusal:
    for part, whole in _PARTS:
        if getattr(message, part) > getattr(message, whole):
            return invalid(f"{path}{part}", f"must not be above {whole}, of which it is a part")
    return invalid(
        f"{path}cache_write_tokens", "must not exceed input_tokens less cache_read_tokens"
    )


def _micros(seconds: float, path: str, name: str) -> int:
    if seconds == 0:
        return 0
    if not math.isfinite(seconds) or seconds < 0:
        raise invalid(f"{path}{name}", "must be a number of seconds, zero or more")
    if seconds > _SECONDS_MAX:
        raise invalid(f"{path}{name}", f"must be from 0 to {_SECONDS_MAX}")
    # By way of its shortest decimal: 0.1 is a tenth of a second, not the double beside it.
    exact = Decimal(repr(seconds)) * MICROS_PER_SECOND
    return int(exact.to_integral_value(ROUND_HALF_EVEN))


def from_usage(
    usage: Usage, *, input_cost: Amount, output_cost: Amount, cost: Amount
) -> request_record_pb2.ModelUsage:
    """The units and what the provider charges for them."""
    # Counts go by the same names on both sides. What is not there need not be set to nothing.
    counts = usage.as_dict()
    taken, given = counts.pop("input_micros", 0), counts.pop("output_micros", 0)
    return request_record_pb2.ModelUsage(
        total_tokens=usage.input_tokens + usage.output_tokens,
        total_characters=usage.input_characters + usage.output_characters,
        input_seconds=taken / MICROS_PER_SECOND,
        output_seconds=given / MICROS_PER_SECOND,
        total_seconds=(taken + given) / MICROS_PER_SECOND,
        input_cost=format_amount(input_cost),
        output_cost=format_amount(output_cost),
        total_cost=format_amount(cost),
        **counts,
    )
