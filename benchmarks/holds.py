"""How large holds are against what the calls then cost, over the corpus and the recordings.

    python -m benchmarks.holds

A hold is the upper bound that is placed before a call (`providers.estimate`); the
ratio is that bound over the cost of the answer, where both are known and not
zero. Corpus pairs are priced by its own `prices.json`, recordings by the catalogue.
The last line is JSON.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from statistics import median

from lava_grpc.core.time import Instant
from lava_grpc.providers.base import Call, UsageReading
from lava_grpc.providers.estimate import estimate
from lava_grpc.providers.prices import PriceBook
from lava_grpc.providers.provider import Provider
from tests.corpus import PRICES_FILE, pairs
from tests.unit.providers.recordings import recordings

AT: Instant = 1_795_000_000_000_000  # 2026-11-18
P95 = Fraction(95, 100)


@dataclass(frozen=True, slots=True)
class Ratio:
    """One call's hold over its cost."""

    source: str
    flavor: str
    # The request states a limit on its output, which is most of most holds.
    limited: bool
    value: Fraction


def main() -> int:
    """Print the distribution; 1 if there is nothing to measure, or a hold was too small."""
    found = [*_of_corpus(), *_of_recordings()]
    if not found:
        print("nothing to measure")
        return 1
    print(f"{'':24}{'calls':>6}{'median':>12}{'p95':>14}{'max':>14}{'least':>10}")
    for name, group in _groups(found):
        print(_row(name, group))
    everything = _facts(found)
    print(json.dumps({"holds": everything}))
    return 0 if everything["least"] >= 1 else 1


def _of_corpus() -> Iterator[Ratio]:
    prices = PriceBook(PRICES_FILE)
    for pair in pairs():
        if pair.ok and pair.expected.stated and pair.expected.complete:
            call, _ = pair.prepared()
            reading = pair.replay([pair.answer])[1]
            yield from _ratio("corpus", pair.provider, call, pair.request, reading, prices)


def _of_recordings() -> Iterator[Ratio]:
    prices = PriceBook()
    for recording in recordings():
        if recording.ok:
            call, reading = recording.whole()
            provider, body = recording.provider, recording.request
            yield from _ratio("recorded", provider, call, body, reading, prices)


def _ratio(
    source: str,
    provider: Provider,
    call: Call,
    body: bytes,
    reading: UsageReading,
    prices: PriceBook,
) -> Iterator[Ratio]:
    hold = estimate(provider, call, body, prices, AT)
    cost = prices.cost_of(provider, call, reading, AT)
    if hold.cost and cost.total:
        limited = call.output_tokens_max is not None
        yield Ratio(source, call.flavor, limited, Fraction(hold.cost, cost.total))


def _groups(found: list[Ratio]) -> Iterator[tuple[str, list[Ratio]]]:
    yield "all", found
    for source in ("corpus", "recorded"):
        yield source, [each for each in found if each.source == source]
    yield "with a limit stated", [each for each in found if each.limited]
    yield "without one", [each for each in found if not each.limited]
    for flavor in sorted({each.flavor for each in found}):
        yield f"  {flavor}", [each for each in found if each.flavor == flavor]


def _row(name: str, group: list[Ratio]) -> str:
    if not group:
        return f"{name:24}{0:>6}"
    facts = _facts(group)
    return (
        f"{name:24}{facts['calls']:>6}{facts['median']:>12,}{facts['p95']:>14,}"
        f"{facts['max']:>14,}{facts['least']:>10,}"
    )


def _facts(group: Iterable[Ratio]) -> dict[str, float]:
    values = sorted(each.value for each in group)
    return {
        "calls": len(values),
        "median": _short(median(values)),
        "p95": _short(values[math.ceil(P95 * len(values)) - 1]),
        "max": _short(values[-1]),
        # Down, so that a hold a little too small does not read as one that was enough.
        "least": math.floor(values[0] * 100) / 100,
    }


def _short(value: Fraction) -> float:
    return round(float(value), 2)


if __name__ == "__main__":
    sys.exit(main())
