"""What a call is likely to use, from what calls before it used.

A high quantile of recent samples stands in for the upper bound. It is a
statement about the past: a call may use more.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lava_grpc.core.money import divide_up
from lava_grpc.core.usage import Usage
from lava_grpc.providers.base import Call
from lava_grpc.providers.estimate import Estimate, narrowed

SAMPLES_MAX = 100
"""How many of the newest calls count."""

SAMPLES_MIN = 20
"""With fewer than this there is nothing to be expected."""

QUANTILE_PERCENT = 95

_PER_BYTE = 1_000_000
# What a name that is as good as another one may have behind it: a date, a version, `latest`.
_SAME_MODEL = re.compile(r"(?:[-@:]v?[\d.:-]+|[-:]latest)?")


@dataclass(frozen=True, slots=True)
class Sample:
    """What one call used. `body_bytes` is 0 where nobody knows how large its body was."""

    input_tokens: int
    output_tokens: int  # of each choice
    web_searches: int = 0
    body_bytes: int = 0


def sample_of(usage: Usage, *, choices: int = 1, body_bytes: int = 0) -> Sample:
    """What a call used that asked for `choices` answers."""
    return Sample(
        usage.input_tokens,
        divide_up(usage.output_tokens, max(choices, 1)),
        usage.web_searches,
        body_bytes,
    )


@dataclass(slots=True)
class Past:
    """The newest calls of one kind, oldest first."""

    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=SAMPLES_MAX))

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> Past:
        """From samples in their order, oldest first."""
        return cls(deque(samples, maxlen=SAMPLES_MAX))

    @property
    def enough(self) -> bool:
        """Whether something can be expected."""
        return len(self.samples) >= SAMPLES_MIN


def expected(bound: Estimate, call: Call, body_bytes: int, past: Past) -> Estimate:
    """What the call is likely to come to: never more than `bound`, which it is without a past.

    Input is the quantile of tokens per byte of body where enough bodies are known,
    else the larger of the quantile of tokens and a guess from the body.
    """
    if not past.enough:
        return bound
    samples = past.samples
    output = _quantile([sample.output_tokens for sample in samples]) * call.choices
    return narrowed(
        bound,
        input_tokens=_input(samples, body_bytes, bound.input_guess),
        output_tokens=output,
        web_searches=_quantile([sample.web_searches for sample in samples]),
    )


def same_model(asked: str, answered: str) -> bool:
    """Whether a model that a record names is the one that a request names.

    Records have the name that the answer gave: `gpt-4o-2024-08-06` for `gpt-4o`.
    """
    plain = asked.removesuffix("-latest")
    return answered.startswith(plain) and bool(_SAME_MODEL.fullmatch(answered[len(plain) :]))


def _input(samples: Iterable[Sample], body_bytes: int, guess: int) -> int:
    samples = list(samples)
    rates = [
        divide_up(sample.input_tokens * _PER_BYTE, sample.body_bytes)
        for sample in samples
        if sample.body_bytes
    ]
    if len(rates) >= SAMPLES_MIN:
        return divide_up(_quantile(rates) * body_bytes, _PER_BYTE)
    return max(_quantile([sample.input_tokens for sample in samples]), guess)


def _quantile(values: Sequence[int]) -> int:
    """The least value that QUANTILE_PERCENT of all are at most."""
    return sorted(values)[divide_up(len(values) * QUANTILE_PERCENT, 100) - 1]
