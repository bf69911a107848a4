"""Fill a request message from a JSON object: proto field names, strict, every no by its path."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sized
from functools import cache
from typing import TypeAlias, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import ListValue, Struct
from google.protobuf.timestamp_pb2 import Timestamp

from lava_grpc.api.strict_json import Json
from lava_grpc.core.errors import invalid
from lava_grpc.rest.fields import (
    FIELD_MASK,
    LIST,
    STRUCT,
    TIMESTAMP,
    is_map,
    real_oneof,
    sub_message,
)
from lava_grpc.rest.scalars import json_converter, to_text, to_timestamp

STRUCT_DEPTH_MAX = 32
"""How deep a free-form object (a customer's metadata) may nest."""

STRUCT_VALUES_MAX = 8192
"""The most values within it: as many as 16 KB of JSON can hold."""

ITEMS_MAX = 1000
"""The most items of a list or map: as many as the largest batch has."""

INTEGER_EXACT_MAX = 2**53
"""Free-form numbers are doubles: a larger integer would silently become another one."""

_NAME_SHOWN_MAX = 80

Fill: TypeAlias = Callable[[Message, Json, str], None]


def fill(message: Message, fields: Mapping[str, Json], path: str = "") -> None:
    """Set `message` from JSON; `path` is what names it (`tiers[0]`), empty for the body itself.

    A null counts as absent. A field mask is no field of the body: it is made
    from the keys that are there. Raises INVALID_FIELD, naming the field, for
    unknown fields, wrong types, unknown enum values, and two members of a oneof.
    """
    setters, oneofs = _plan(message.DESCRIPTOR)
    chosen: dict[str, str] = {}
    for name, value in fields.items():
        where = f"{path}.{name[:_NAME_SHOWN_MAX]}" if path else name[:_NAME_SHOWN_MAX]
        setter = setters.get(name)
        if setter is None:
            raise invalid(where, "is not a known field")
        if value is None:
            continue
        if (oneof := oneofs.get(name)) is not None:
            other = chosen.setdefault(oneof, name)
            if other != name:
                raise invalid(where, f"cannot be given together with {other}")
        setter(message, value, where)


@cache
def _plan(descriptor: Descriptor) -> tuple[dict[str, Fill], dict[str, str]]:
    shown = [f for f in descriptor.fields if not _is_mask(f)]
    oneofs = {f.name: oneof for f in shown if (oneof := real_oneof(f)) is not None}
    return {f.name: _setter(f) for f in shown}, oneofs


def _is_mask(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.full_name == FIELD_MASK


def _setter(field: FieldDescriptor) -> Fill:
    if is_map(field):
        return _map_setter(field)
    if field.is_repeated:
        return _list_setter(field)
    if field.message_type is not None:
        return _message_setter(field)
    name, convert = field.name, json_converter(field)
    return lambda message, value, path: setattr(message, name, convert(value, path))


def _map_setter(field: FieldDescriptor) -> Fill:
    entry = sub_message(field)
    if entry.fields_by_name["key"].type != FieldDescriptor.TYPE_STRING:
        raise TypeError(f"{field.full_name}: JSON keys are strings")
    name, convert = field.name, json_converter(entry.fields_by_name["value"])

    def setter(message: Message, value: Json, path: str) -> None:
        target, items = getattr(message, name), _object(value, path)
        _check_size(items, path)
        for key, item in items.items():
            where = f"{path}.{key[:_NAME_SHOWN_MAX]}"
            target[to_text(key, where)] = convert(item, where)

    return setter


def _list_setter(field: FieldDescriptor) -> Fill:
    name = field.name
    if field.message_type is not None:
        filler = _filler(field.message_type)

        def add_messages(message: Message, value: Json, path: str) -> None:
            target = getattr(message, name)
            for index, item in enumerate(_list(value, path)):
                filler(target.add(), item, f"{path}[{index}]")

        return add_messages
    convert = json_converter(field)

    def add_scalars(message: Message, value: Json, path: str) -> None:
        items = enumerate(_list(value, path))
        getattr(message, name).extend([convert(item, f"{path}[{i}]") for i, item in items])

    return add_scalars


def _message_setter(field: FieldDescriptor) -> Fill:
    name, filler = field.name, _filler(sub_message(field))

    def setter(message: Message, value: Json, path: str) -> None:
        target = getattr(message, name)
        # An empty object is given too.
        target.SetInParent()
        filler(target, value, path)

    return setter


def _filler(descriptor: Descriptor) -> Fill:
    match descriptor.full_name:
        case str(name) if name == TIMESTAMP:
            return _fill_timestamp
        case str(name) if name == STRUCT:
            return _fill_struct
        case str(name) if name == LIST:
            return _fill_list
        case _:
            return lambda message, value, path: fill(message, _object(value, path), path)


def _fill_timestamp(message: Message, value: Json, path: str) -> None:
    cast("Timestamp", message).CopyFrom(to_timestamp(value, path))


def _fill_struct(message: Message, value: Json, path: str) -> None:
    fields = _object(value, path)
    _check_free_form(fields, path)
    cast("Struct", message).update(fields)


def _fill_list(message: Message, value: Json, path: str) -> None:
    items = _list(value, path)
    _check_free_form({path: items}, path)
    # The stubs know no lists of mixed values.
    cast("ListValue", message).extend(cast("list[str]", items))


def _check_free_form(fields: dict[str, Json], path: str) -> None:
    waiting: list[tuple[Json, int]] = [(fields, 1)]
    for _ in range(STRUCT_VALUES_MAX):
        if not waiting:
            return
        value, depth = waiting.pop()
        if depth > STRUCT_DEPTH_MAX:
            raise invalid(path, f"is nested deeper than {STRUCT_DEPTH_MAX} levels")
        match value:
            case dict():
                for key in value:
                    to_text(key, path)
                waiting.extend((item, depth + 1) for item in value.values())
            case list():
                waiting.extend((item, depth + 1) for item in value)
            case _:
                _check_free_value(value, path)
    raise invalid(path, f"has more than {STRUCT_VALUES_MAX} values")


def _check_free_value(value: Json, path: str) -> None:
    if isinstance(value, str):
        to_text(value, path)
    elif isinstance(value, float) and not math.isfinite(value):
        raise invalid(path, "has too large a number")
    elif isinstance(value, int) and abs(value) > INTEGER_EXACT_MAX:
        raise invalid(path, "has an integer beyond 2^53, which must be given as a string")


def _object(value: Json, path: str) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise invalid(path, "must be an object")
    return value


def _list(value: Json, path: str) -> list[Json]:
    if not isinstance(value, list):
        raise invalid(path, "must be a list")
    _check_size(value, path)
    return value


def _check_size(items: Sized, path: str) -> None:
    if len(items) > ITEMS_MAX:
        raise invalid(path, f"has more than {ITEMS_MAX} items")
