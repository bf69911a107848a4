"""Changes a request in as few of its bytes as can be: to ask for usage in a stream, above all."""

from __future__ import annotations

import json
import re

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")
_ASK = '"include_usage":true'


def ask_for_usage(body: bytes, *, has_options: bool) -> bytes | None:
    """`body` with `stream_options.include_usage` true, all other bytes as they were.

    `has_options` says whether the object has `stream_options` at all; without
    them nothing but the opening brace is looked at. None where the body asks
    already, or is no JSON object that could be made to.
    """
    try:
        text = body.decode()
        start = _open(text, 0)
        if not has_options:
            comma = "" if text[_skip(text, start)] == "}" else ","
            return _spliced(text, start, start, f'"stream_options":{{{_ASK}}}{comma}')
        span = _last_span(text, start, "stream_options")
        return _into_options(text, *span) if span else None
    except (ValueError, IndexError, RecursionError):
        return None


def with_text(body: bytes, name: str, text: str) -> bytes | None:
    """`body` with another text for the field `name`, all other bytes as they were.

    None where the body is no JSON object, or has no such field.
    """
    try:
        spelled = body.decode()
        span = _last_span(spelled, _open(spelled, 0), name)
    except (ValueError, IndexError, RecursionError):
        return None
    return _spliced(spelled, *span, json.dumps(text)) if span else None


def _into_options(text: str, start: int, end: int) -> bytes | None:
    options = json.loads(text[start:end])
    if options is None:
        return _spliced(text, start, end, f"{{{_ASK}}}")
    if not isinstance(options, dict) or options.get("include_usage") is True:
        return None
    inside = start + 1
    asked = _last_span(text, inside, "include_usage")
    if asked is not None:
        return _spliced(text, *asked, "true")
    return _spliced(text, inside, inside, _ASK + ("," if options else ""))


def _spliced(text: str, start: int, end: int, new: str) -> bytes:
    return (text[:start] + new + text[end:]).encode()


def _open(text: str, position: int) -> int:
    """The position after an object's opening brace."""
    position = _skip(text, position)
    if text[position] != "{":
        raise ValueError
    return position + 1


def _skip(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position


def _last_span(text: str, position: int, wanted: str) -> tuple[int, int] | None:
    """Where the value of `wanted` stands in the object whose brace is before `position`.

    The last of several, which is the one that parsers go by.
    """
    found: tuple[int, int] | None = None
    position = _skip(text, position)
    while text[position] != "}":
        key, position = _DECODER.raw_decode(text, position)
        position = _skip(text, position)
        start = _skip(text, position + 1)  # past the colon
        _, end = _DECODER.raw_decode(text, start)
        if key == wanted:
            found = (start, end)
        position = _skip(text, end)
        if text[position] == ",":
            position = _skip(text, position + 1)
    return found
