from __future__ import annotations

from datetime import UTC, datetime

from lava_grpc.core.ids import IdSource, encode_ulid
from lava_grpc.core.time import cycle_of, from_datetime, to_datetime
from lava_grpc.core.usage import Usage


def test_an_instant_is_read_back_to_the_microsecond() -> None:
    moment = datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    assert to_datetime(from_datetime(moment)) == moment


def test_a_cycle_is_the_calendar_month_in_utc() -> None:
    december = datetime(2026, 12, 1, tzinfo=UTC)
    january = datetime(2027, 1, 1, tzinfo=UTC)
    cycle = (from_datetime(december), from_datetime(january))
    assert cycle_of(cycle[0]) == cycle
    assert cycle_of(cycle[1] - 1) == cycle
    assert cycle_of(cycle[1])[0] == cycle[1]


def test_a_ulid_is_26_characters_of_crockfords_alphabet() -> None:
    # The specification's own example of the largest one.
    assert encode_ulid(2**48 - 1, 2**80 - 1) == "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"
    assert encode_ulid(0, 1) == "00000000000000000000000001"


def test_ids_grow_even_when_the_clock_stands_or_steps_back() -> None:
    source = IdSource()
    now = 1_790_000_000_000_000
    ids = [source.ulid(moment) for moment in (now, now, now - 5_000_000, now + 1_000)]
    assert ids == sorted(set(ids))


def test_usage_is_stored_by_its_non_zero_counts() -> None:
    usage = Usage(input_tokens=3, output_micros=1_500_000)
    assert usage.as_dict() == {"input_tokens": 3, "output_micros": 1_500_000}
    assert Usage.from_dict(usage.as_dict()) == usage
    assert Usage(input_tokens=3, output_tokens=4).total_tokens == 7
