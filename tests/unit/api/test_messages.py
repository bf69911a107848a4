from __future__ import annotations

import math
from enum import Enum
from types import MappingProxyType
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from lava.v1 import gateway_service_pb2 as pb
from lava.v1 import meter_pb2, usage_pb2
from msgspec import structs

from lava_grpc.api.messages import authorize, enums, forward, free_form, records, reports
from lava_grpc.api.messages.times import to_instant, to_timestamp
from lava_grpc.api.messages.usage import to_usage
from lava_grpc.core.commands import Held
from lava_grpc.core.errors import Refusal
from lava_grpc.core.hold import CallFacts, Hold, HoldKind, HoldState, Leg, Role
from lava_grpc.core.money import SCALE
from lava_grpc.core.pricing import Charge, ChargeLine, RateType, TierType
from lava_grpc.core.request_record import Flag, RequestRecord, RequestStatus
from lava_grpc.core.usage import COUNT_MAX, FIELDS, NOTHING, Usage

WHEN = 1_700_000_000_123_456


def hold(*, roles: tuple[Role, ...], legs: tuple[Leg, ...]) -> Hold:
    return Hold(
        merchant_id="mer_1",
        hold_id="res_1",
        request_id="req_1",
        kind=HoldKind.AUTHORIZE,
        state=HoldState.ACTIVE,
        account_ids=tuple("con_1" if role is Role.CHARGE else "mer_1" for role in roles),
        roles=roles,
        legs=legs,
        facts=CallFacts(metadata=(("k", "v"),)),
        created_at=WHEN,
        expires_at=WHEN + 1,
        ended_at=None,
        fingerprint="f",
    )


@given(st.integers(-62_135_596_800 * 10**6, 253_402_300_799 * 10**6))
def test_an_instant_comes_back_as_it_went(instant: int) -> None:
    assert to_instant(to_timestamp(instant), "t") == instant


def test_nanoseconds_are_cut_and_never_rounded_into_the_future() -> None:
    assert to_instant(Timestamp(seconds=-1, nanos=999_999_999), "t") == -1


@pytest.mark.parametrize(
    "timestamp",
    [
        Timestamp(seconds=253_402_300_800),
        Timestamp(seconds=-62_135_596_801),
        Timestamp(nanos=-1),
        Timestamp(nanos=10**9),
    ],
    ids=str,
)
def test_a_timestamp_out_of_range_is_refused_by_its_field(timestamp: Timestamp) -> None:
    with pytest.raises(Refusal) as refused:
        to_instant(timestamp, "expires_at")
    assert refused.value.field == "expires_at"


@pytest.mark.parametrize(
    ("seconds", "micros"),
    [
        (0.1, 100_000),
        (0.000001, 1),
        (0.0000005, 0),
        (0.0000015, 2),
        (1e-12, 0),
        (4.35, 4_350_000),
        (1e9, 10**15),
        (-0.0, 0),
    ],
)
def test_seconds_are_kept_to_a_microsecond(seconds: float, micros: int) -> None:
    usage = to_usage(usage_pb2.Usage(input_seconds=seconds, output_seconds=seconds))
    assert (usage.input_micros, usage.output_micros) == (micros, micros)


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -math.inf, -1e-9, 1.1e9, 1e300])
def test_seconds_that_are_no_duration_are_refused(seconds: float) -> None:
    with pytest.raises(Refusal) as refused:
        to_usage(usage_pb2.Usage(output_seconds=seconds), "usage.")
    assert refused.value.field == "usage.output_seconds"


def test_the_first_count_out_of_range_is_named() -> None:
    for name in [field.name for field in usage_pb2.Usage.DESCRIPTOR.fields]:
        if name.endswith("seconds"):
            continue
        for bad in (-1, COUNT_MAX + 1):
            message = usage_pb2.Usage()
            setattr(message, name, bad)
            with pytest.raises(Refusal) as refused:
                to_usage(message, "usage.")
            assert refused.value.field == f"usage.{name}"


def test_every_unit_of_a_report_arrives_under_its_own_name() -> None:
    message = pb.ReportUsageRequest(
        input_tokens=100,
        output_tokens=50,
        cache_read_tokens=1,
        cache_write_tokens=2,
        reasoning_tokens=3,
        input_audio_tokens=4,
        output_audio_tokens=5,
        input_characters=6,
        output_characters=7,
        input_seconds=8,
        output_seconds=9,
    )
    assert to_usage(message) == Usage(
        input_tokens=100,
        output_tokens=50,
        cache_read_tokens=1,
        cache_write_tokens=2,
        reasoning_tokens=3,
        input_audio_tokens=4,
        output_audio_tokens=5,
        input_characters=6,
        output_characters=7,
        input_micros=8_000_000,
        output_micros=9_000_000,
    )
    assert to_usage(usage_pb2.Usage()) is NOTHING


def test_a_hold_tells_the_payers_amount_and_the_cost() -> None:
    legs = (
        Leg("con_1", Role.CHARGE, "grt_1", 3 * SCALE),
        Leg("con_1", Role.CHARGE, None, SCALE),
        Leg("mer_1", Role.COST, "grt_2", 2 * SCALE),
    )
    both = authorize.from_held(Held(hold(roles=(Role.CHARGE, Role.COST), legs=legs), None))
    assert both.reservation.amount == "4.0000000000"
    assert both.reservation.cost_amount == "2.0000000000"
    assert both.available == "unlimited"
    assert dict(both.reservation.metadata) == {"k": "v"}
    assert not both.reservation.HasField("customer_id")
    assert not both.reservation.HasField("ended_at")
    assert not both.HasField("affordable_units")
    alone = authorize.from_held(Held(hold(roles=(Role.COST,), legs=legs[2:]), 5))
    assert alone.reservation.amount == alone.reservation.cost_amount == "2.0000000000"
    assert alone.available == "0.0000000005"


def test_a_partial_hold_of_nothing_still_says_that_it_buys_nothing() -> None:
    held = Held(
        hold(roles=(Role.COST,), legs=()),
        0,
        partial=True,
        affordable_units=0,
        affordable_output_tokens=0,
    )
    answer = authorize.from_held(held)
    assert answer.HasField("affordable_units")
    assert answer.HasField("affordable_output_tokens")


def record(kind: TierType, units: int) -> RequestRecord:
    return RequestRecord(
        merchant_id="mer_1",
        request_id="req_1",
        status=RequestStatus.COMPLETED,
        facts=CallFacts(),
        response_id=None,
        usage=Usage(input_micros=100_000, output_micros=200_000),
        input_cost=1,
        output_cost=2,
        cost=3,
        charge=Charge(7, RateType.FIXED, (ChargeLine(5, 6, kind, units, 7),)),
        flags=(Flag.LATE, Flag.OVERDRAWN),
        hold_id=None,
        held=None,
        created_at=WHEN,
        ended_at=WHEN,
        fingerprint="f",
    )


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        (TierType.TOKENS_1M, (1_500_000, 0, 0.0)),
        (TierType.CHARACTERS_1M, (0, 1_500_000, 0.0)),
        (TierType.MINUTES, (0, 0, 1.5)),
        (TierType.SECONDS, (0, 0, 1.5)),
        (TierType.REQUESTS, (0, 0, 0.0)),
    ],
)
def test_a_line_shows_its_units_where_they_belong(
    kind: TierType, shown: tuple[int, int, float]
) -> None:
    (line,) = records.from_record(record(kind, 1_500_000)).charge.breakdown
    assert (line.tokens, line.characters, line.seconds) == shown
    assert (line.tier.start, line.tier.rate, line.cost) == (5, "0.0000000006", "0.0000000007")


def test_a_record_leaves_out_what_there_is_not() -> None:
    shown = records.from_record(record(TierType.MINUTES, 1))
    assert shown.model_usage.total_seconds == 0.3
    assert len(shown.flags) == 2
    assert not shown.HasField("service_tier")
    for name in ("customer_id", "meter_id", "model", "response_id", "reservation_id", "held"):
        assert not shown.HasField(name), name


def test_a_record_shows_every_unit_that_has_a_price() -> None:
    counts = {name: number for number, name in enumerate(FIELDS, start=1)}
    made = structs.replace(
        record(TierType.MINUTES, 1), usage=Usage.from_dict(counts), service_tier="batch"
    )
    shown = records.from_record(made)
    assert shown.service_tier == "batch"
    for name, value in counts.items():
        if not name.endswith("_micros"):
            assert getattr(shown.model_usage, name) == value, name


def test_every_value_of_the_core_has_its_own_on_the_wire() -> None:
    tables = [value for value in vars(enums).values() if isinstance(value, MappingProxyType)]
    assert len(tables) >= 15
    for table in tables:
        kind = type(next(iter(table)))
        if issubclass(kind, Enum):
            assert set(table) == set(kind)
            assert len(set(table.values())) == len(table)


def test_an_unknown_enum_number_is_refused_by_its_field() -> None:
    assert enums.read_enum(enums.RATE_TYPES, 0, "rate_type") is None
    assert (
        enums.read_enum(enums.RATE_TYPES, meter_pb2.RATE_TYPE_PERCENTAGE, "rate_type")
        is RateType.PERCENTAGE
    )
    with pytest.raises(Refusal) as refused:
        enums.read_enum(enums.RATE_TYPES, 99, "rate_type")
    assert refused.value.field == "rate_type"


def test_free_form_objects_keep_their_values_and_spell_whole_numbers_whole() -> None:
    struct = Struct()
    struct.update({"b": [1, 2.5, None, True, {"é": "x"}], "a": 2.0**60})
    text = free_form.to_json(struct, "metadata")
    assert text == '{"a":1.152921504606847e+18,"b":[1,2.5,null,true,{"é":"x"}]}'
    assert free_form.from_json(text) == struct


def test_a_number_that_json_has_not_is_refused() -> None:
    struct = Struct()
    struct.fields["n"].number_value = math.nan
    with pytest.raises(Refusal) as refused:
        free_form.to_json(struct, "metadata")
    assert refused.value.field == "metadata"


def test_lists_count_as_levels_too() -> None:
    value: Any = []
    for _ in range(31):
        value = [value]
    struct = Struct()
    struct.update({"deep": value})
    with pytest.raises(Refusal):
        free_form.to_json(struct, "metadata")


def test_a_report_by_reservation_alone_needs_no_request_id() -> None:
    report = reports.to_report(pb.ReportUsageRequest(reservation_id="res_1"))
    assert (report.request_id, report.reservation_id, report.usage) == (None, "res_1", NOTHING)


def test_a_provider_key_is_never_quoted_in_a_refusal() -> None:
    with pytest.raises(Refusal) as refused:
        forward.to_forward(pb.ForwardRequest(provider_key="sk-secret key"))
    assert refused.value.field == "provider_key"
    assert "secret" not in refused.value.message


def test_a_filter_is_read_as_pairs() -> None:
    assert records.to_filter('[["a","1"],["a","2"]]') == (("a", "1"), ("a", "2"))
    assert records.to_filter("[]") == ()


@pytest.mark.parametrize(
    "text", ["", "nope", '{"a":"b"}', '[["a",1]]', '["ab"]', "[" * 9999, '[["a","\\u0000"]]']
)
def test_a_filter_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Refusal) as refused:
        records.to_filter(text)
    assert (refused.value.field or "").startswith("metadata_filters")
