"""Changes a request in as few of its bytes as can be: to ask for usage in a stream, above all."""

from __future__ import annotations

import json

from lava_grpc.providers.json_edit import last_span, opened, skip, spliced

_ASK = '"include_usage":true'


def ask_for_usage(body: bytes, *, has_options: bool) -> bytes | None:
    """`body` with `stream_options.include_usage` true, all other bytes as they were.

    `has_options` says whether the object has `stream_options` at all; without
    them nothing but the opening brace is looked at. None where the body asks
    already, or is no JSON object that could be made to.
    """
    try:
        text = body.decode()
        start = opened(text, 0)
        if not has_options:
            comma = "" if text[skip(text, start)] == "}" else ","
            return spliced(text, start, start, f'"stream_options":{{{_ASK}}}{comma}')
        span = last_span(text, start, "stream_options")
        return _into_options(text, *span) if span else None
    except (ValueError, IndexError, RecursionError):
        return None


def with_text(body: bytes, name: str, text: str) -> bytes | None:
    """`body` with another text for the field `name`, all other bytes as they were.

    None where the body is no JSON object, or has no such field.
    """
    try:
        spelled = body.decode()
        span = last_span(spelled, opened(spelled, 0), name)
    except (ValueError, IndexError, RecursionError):
        return None
    return spliced(spelled, *span, json.dumps(text)) if span else None


def _into_options(text: str, start: int, end: int) -> bytes | None:
    options = json.loads(text[start:end])
    if options is None:
        return spliced(text, start, end, f"{{{_ASK}}}")
    if not isinstance(options, dict) or options.get("include_usage") is True:
        return None
    inside = start + 1
    asked = last_span(text, inside, "include_usage")
    if asked is not None:
        return spliced(text, *asked, "true")
    return spliced(text, inside, inside, _ASK + ("," if options else ""))
