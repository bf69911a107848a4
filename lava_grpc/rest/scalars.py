"""One JSON value, or one text of a URL, as a field's value. Strict: nothing is coerced silently."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp

from lava_grpc.api.strict_json import Json
from lava_grpc.core.errors import invalid
from lava_grpc.rest.fields import INTEGERS, enum_numbers, enum_type

Scalar: TypeAlias = "str | int | float | bool | bytes"
Convert: TypeAlias = Callable[[Json, str], Scalar]
"""A JSON value and the path that names it, to the value that the field takes."""

_DECIMAL = re.compile(r"-?[0-9]{1,19}")
_DOUBLE = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,4})?")
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def json_converter(field: FieldDescriptor) -> Convert:
    """How JSON becomes a value of this scalar or enum field.

    Raises TypeError for a type that no proto of ours uses.
    """
    if field.cpp_type in INTEGERS:
        low, high = INTEGERS[field.cpp_type]
        return lambda value, path: _integer(value, path, low, high)
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            return to_text
        case FieldDescriptor.TYPE_BOOL:
            return _boolean
        case FieldDescriptor.TYPE_DOUBLE:
            return _double
        case FieldDescriptor.TYPE_BYTES:
            return _bytes
        case FieldDescriptor.TYPE_ENUM:
            return _enum_converter(field)
        case _:
            raise TypeError(f"{field.full_name} has a type that REST does not carry")


def url_converter(field: FieldDescriptor) -> Callable[[str, str], Scalar]:
    """How a text of the path or query becomes a value of this field; a number is spelled out."""
    convert = json_converter(field)
    match field.type:
        case FieldDescriptor.TYPE_BOOL:
            return lambda text, path: convert({"true": True, "false": False}.get(text, text), path)
        case FieldDescriptor.TYPE_DOUBLE:
            # Anything but a plain decimal stays text, which is then refused.
            return lambda text, path: convert(
                float(text) if _DOUBLE.fullmatch(text) else text, path
            )
        case _:
            return convert


def to_text(value: Json, path: str) -> str:
    """A string that UTF-8 can carry."""
    if not isinstance(value, str):
        raise invalid(path, "must be a string")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise invalid(path, "must be valid Unicode: half of a surrogate pair is not") from None
    return value


def to_timestamp(value: Json, path: str) -> Timestamp:
    """An RFC 3339 date and time, with `Z` or an offset."""
    found = _MOMENT.fullmatch(to_text(value, path))
    if found is None:
        raise invalid(path, "must be a date and time such as 2026-01-31T12:00:00Z (RFC 3339)")
    day, time, fraction, sign, hours, minutes = found.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{time}+00:00")
        offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
        moment = moment + offset if sign == "-" else moment - offset
    except (ValueError, OverflowError):
        raise invalid(path, "is not a date and time that exists") from None
    seconds = (moment - _EPOCH) // timedelta(seconds=1)
    return Timestamp(seconds=seconds, nanos=int((fraction or "0").ljust(9, "0")))


def _integer(value: Json, path: str, low: int, high: int) -> int:
    match value:
        case bool() | None | list() | dict():
            raise invalid(path, "must be a whole number")
        case str() if not _DECIMAL.fullmatch(value):
            raise invalid(path, "must be a whole number")
        case float() if not value.is_integer():
            raise invalid(path, "must be a whole number")
        case _:
            number = int(value)
    if not low <= number <= high:
        raise invalid(path, f"must be between {low} and {high}")
    return number


def _boolean(value: Json, path: str) -> bool:
    if not isinstance(value, bool):
        raise invalid(path, "must be true or false")
    return value


def _double(value: Json, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise invalid(path, "must be a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise invalid(path, "is too large a number")
    return number


def _bytes(value: Json, path: str) -> bytes:
    text = to_text(value, path).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise invalid(path, "must be base64") from None


def _enum_converter(field: FieldDescriptor) -> Convert:
    numbers = enum_numbers(enum_type(field))
    accepted = ", ".join(name for name in numbers if name.islower())

    def convert(value: Json, path: str) -> int:
        number = numbers.get(value) if isinstance(value, str) else None
        if number is None:
            raise invalid(path, f"must be one of {accepted}")
        return number

    return convert
