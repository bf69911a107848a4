"""Texts that may be absent."""

from __future__ import annotations

from google.protobuf.message import Message

from lava_grpc.gateway.checks import TEXT_CHARS_MAX, check_id, check_text


def optional_text(message: Message, name: str, *, chars_max: int = TEXT_CHARS_MAX) -> str | None:
    """An `optional string` field, None where it is absent.

    Given and empty is refused: who names an empty customer means to name one.
    """
    if not message.HasField(name):
        return None
    return check_text(getattr(message, name), name, chars_max=chars_max)


def optional_id(message: Message, name: str = "request_id") -> str | None:
    """An `optional string` field of printable characters, None where it is absent."""
    return check_id(getattr(message, name), name) if message.HasField(name) else None


def optional_number(message: Message, name: str) -> int | None:
    """An `optional int32` field, None where it is absent."""
    if not message.HasField(name):
        return None
    number: int = getattr(message, name)
    return number
