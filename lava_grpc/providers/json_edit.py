"""Changes a JSON text in as few of its bytes as can be; all others stay as they were.

The functions raise ValueError, IndexError or RecursionError where the text is not
what they need.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a value goes: in place of `text[start:end]`, between `before` and `after`."""

    start: int
    end: int
    before: str = ""
    after: str = ""


def spliced(text: str, start: int, end: int, new: str) -> bytes:
    """`text` with `new` in place of `text[start:end]`."""
    return (text[:start] + new + text[end:]).encode()


def opened(text: str, position: int) -> int:
    """The position after an object's opening brace."""
    position = skip(text, position)
    if text[position] != "{":
        raise ValueError
    return position + 1


def skip(text: str, position: int) -> int:
    """The position of the next character that is no space."""
    found = _SPACE.match(text, position)
    return found.end() if found else position


def last_span(text: str, position: int, wanted: str) -> tuple[int, int] | None:
    """Where the value of `wanted` stands in the object whose brace is before `position`.

    The last of several, which is the one that parsers go by.
    """
    found: tuple[int, int] | None = None
    position = skip(text, position)
    while text[position] != "}":
        key, position = _DECODER.raw_decode(text, position)
        position = skip(text, position)
        start = skip(text, position + 1)  # past the colon
        _, end = _DECODER.raw_decode(text, start)
        if key == wanted:
            found = (start, end)
        position = skip(text, end)
        if text[position] == ",":
            position = skip(text, position + 1)
    return found


def spot_of(text: str, path: Sequence[str]) -> Spot:
    """Where the value at `path` goes, whether it or the objects around it are there or not."""
    inside = opened(text, 0)
    for depth, key in enumerate(path):
        span = last_span(text, inside, key)
        if span is None:
            comma = "" if text[skip(text, inside)] == "}" else ","
            rest = path[depth + 1 :]
            return Spot(inside, inside, f"{json.dumps(key)}:" + _open(rest), _close(rest) + comma)
        start, end = span
        if depth == len(path) - 1:
            return Spot(start, end)
        if text[start:end] == "null":
            rest = path[depth + 1 :]
            return Spot(start, end, _open(rest), _close(rest))
        inside = opened(text, start)
    raise ValueError


def _open(keys: Sequence[str]) -> str:
    return "".join([f"{{{json.dumps(key)}:" for key in keys])


def _close(keys: Sequence[str]) -> str:
    return "}" * len(keys)
