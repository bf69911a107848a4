"""Records of metered operations."""

from __future__ import annotations

import json

from lava.v1 import meter_pb2, request_record_pb2

from lava_grpc.api.messages.enums import FLAGS, KEY_TYPES, RATE_TYPES, REQUEST_STATUSES, TIER_TYPES
from lava_grpc.api.messages.times import to_timestamp
from lava_grpc.api.messages.usage import from_usage
from lava_grpc.core.errors import invalid
from lava_grpc.core.money import format_amount
from lava_grpc.core.pricing import Charge, ChargeLine, RateType, TierType
from lava_grpc.core.request_record import RequestRecord
from lava_grpc.core.usage import MICROS_PER_SECOND
from lava_grpc.gateway.checks import LABELS_MAX, Labels, check_text

FILTER_CHARS_MAX = 65_536
"""The longest metadata filter."""

_FILTER = "metadata_filters"
_TIMES = frozenset((TierType.MINUTES, TierType.SECONDS))


def from_record(record: RequestRecord) -> request_record_pb2.RequestRecord:
    """The record as its merchant sees it."""
    facts = record.facts
    return request_record_pb2.RequestRecord(
        request_id=record.request_id,
        status=REQUEST_STATUSES[record.status],
        customer_id=facts.customer_id,
        meter_id=facts.meter_id,
        provider=facts.provider,
        provider_key_type=KEY_TYPES[facts.key_type],
        model=facts.model,
        endpoint=facts.endpoint,
        response_id=record.response_id,
        model_usage=from_usage(
            record.usage,
            input_cost=record.input_cost,
            output_cost=record.output_cost,
            cost=record.cost,
        ),
        cost=format_amount(record.cost),
        charge=_from_charge(record.charge),
        metadata=dict(facts.metadata) if facts.metadata else None,
        timestamp=None if record.ended_at is None else to_timestamp(record.ended_at),
        created_at=to_timestamp(record.created_at),
        reservation_id=record.hold_id,
        flags=[FLAGS[flag] for flag in record.flags] if record.flags else None,
        held=None if record.held is None else format_amount(record.held),
        service_tier=record.service_tier,
    )


def _from_charge(charge: Charge) -> request_record_pb2.Charge:
    # Lava's clients expect a rate type always.
    return request_record_pb2.Charge(
        amount=format_amount(charge.amount),
        rate_type=RATE_TYPES[charge.rate_type or RateType.FIXED],
        breakdown=[_from_line(line) for line in charge.lines],
    )


def _from_line(line: ChargeLine) -> request_record_pb2.ChargeLine:
    kind, units = line.tier_type, line.units
    return request_record_pb2.ChargeLine(
        tier=meter_pb2.MeterTier(
            start=line.start, rate=format_amount(line.rate), type=TIER_TYPES[kind]
        ),
        tokens=units if kind is TierType.TOKENS_1M else 0,
        characters=units if kind is TierType.CHARACTERS_1M else 0,
        seconds=units / MICROS_PER_SECOND if kind in _TIMES else 0.0,
        cost=format_amount(line.amount),
    )


def to_filter(text: str) -> Labels:
    """The labels that all must be there, from a JSON array of [key, value] pairs."""
    if len(text) > FILTER_CHARS_MAX:
        raise invalid(_FILTER, f"must have at most {FILTER_CHARS_MAX} characters")
    try:
        pairs = json.loads(text)
    except (ValueError, RecursionError):
        raise invalid(_FILTER, "must be a JSON array of [key, value] pairs") from None
    if not isinstance(pairs, list) or len(pairs) > LABELS_MAX:
        raise invalid(_FILTER, f"must be a JSON array of at most {LABELS_MAX} pairs")
    return tuple(_to_pair(pair, f"{_FILTER}[{index}]") for index, pair in enumerate(pairs))


def _to_pair(pair: object, field: str) -> tuple[str, str]:
    match pair:
        case [str(key), str(value)]:
            return check_text(key, field), check_text(value, field)
        case _:
            raise invalid(field, "must be a pair of strings")
