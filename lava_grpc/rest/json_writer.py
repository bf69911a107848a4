"""An answer as JSON, in Lava's form.

Proto field names; enums in lower snake case; int64 as numbers; times with `Z`.
Scalars, lists and maps are always there. What is absent is null, but left out
where the field is annotated OPTIONAL or is a member of a oneof.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import cache
from typing import TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.status_pb2 import Status

from lava_grpc.api.status import from_rpc_status, http_error
from lava_grpc.rest.fields import (
    LIST,
    STATUS,
    STRUCT,
    TIMESTAMP,
    enum_texts,
    enum_type,
    is_map,
    left_out,
    sub_message,
)

# What the standard library's JSON writer takes.
Plain: TypeAlias = object
Show: TypeAlias = Callable[..., Plain]

# Larger doubles keep their exponent: their digits would promise what they do not know.
_WHOLE_MAX = 2**53


def to_plain(message: Message) -> dict[str, Plain]:
    """The message as what `json.dumps` takes."""
    absent, shows = _plan(message.DESCRIPTOR)
    shown = absent.copy()
    for field, value in message.ListFields():
        name, show = shows[field.number]
        shown[name] = value if show is None else show(value)
    return shown


def dump(value: Plain) -> bytes:
    """Compact UTF-8 JSON."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # A refusal may quote half of a surrogate pair that it was about.
    return text.encode(errors="replace")


@cache
def _plan(descriptor: Descriptor) -> tuple[dict[str, Plain], dict[int, tuple[str, Show | None]]]:
    absent = {f.name: _absent(f) for f in descriptor.fields if not left_out(f)}
    return absent, {f.number: (f.name, _show(f)) for f in descriptor.fields}


def _absent(field: FieldDescriptor) -> Plain:
    if is_map(field):
        return {}
    if field.is_repeated:
        # Shared by all answers, hence not a list.
        return ()
    if field.has_presence or field.type == FieldDescriptor.TYPE_ENUM:
        return None
    return "" if field.type == FieldDescriptor.TYPE_BYTES else field.default_value


def _show(field: FieldDescriptor) -> Show | None:
    """How a set field is shown; None where its value is plain already."""
    if is_map(field):
        show = _show_one(sub_message(field).fields_by_name["value"])
        return dict if show is None else _show_values(show)
    show = _show_one(field)
    if not field.is_repeated:
        return show
    return list if show is None else _show_items(show)


def _show_values(show: Show) -> Show:
    return lambda items: {key: show(value) for key, value in items.items()}


def _show_items(show: Show) -> Show:
    return lambda items: [show(item) for item in items]


def _show_one(field: FieldDescriptor) -> Show | None:
    match field.type:
        case FieldDescriptor.TYPE_MESSAGE:
            return _show_message(sub_message(field))
        case FieldDescriptor.TYPE_ENUM:
            texts = enum_texts(enum_type(field))
            # A value that this build does not know is shown by its number.
            return lambda number: texts.get(number, number)
        case FieldDescriptor.TYPE_DOUBLE:
            return _number
        case FieldDescriptor.TYPE_BYTES:
            raise TypeError(f"{field.full_name}: REST answers carry no bytes")
        case _:
            return None


def _show_message(descriptor: Descriptor) -> Show:
    match descriptor.full_name:
        case str(name) if name == TIMESTAMP:
            return Timestamp.ToJsonString
        case str(name) if name == STRUCT:
            return _struct
        case str(name) if name == LIST:
            return _items
        case str(name) if name == STATUS:
            return _status
        case _:
            return to_plain


def _number(value: float) -> int | float | None:
    """A whole number without its `.0`; JSON has no word for infinity."""
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() and abs(value) <= _WHOLE_MAX else value


def _struct(value: Struct) -> dict[str, Plain]:
    return {name: _free_form(item) for name, item in value.fields.items()}


def _items(value: ListValue) -> list[Plain]:
    return [_free_form(item) for item in value.values]


def _free_form(value: Value) -> Plain:
    match value.WhichOneof("kind"):
        case "struct_value":
            return _struct(value.struct_value)
        case "list_value":
            return _items(value.list_value)
        case "number_value":
            return _number(value.number_value)
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None


def _status(status: Status) -> Plain:
    """One item's refusal within an answer, as an error body would show it."""
    _, body, _ = http_error(from_rpc_status(status))
    return body["error"]
