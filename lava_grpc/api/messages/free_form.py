"""Free-form objects (`google.protobuf.Struct`) as compact JSON text."""

from __future__ import annotations

import json
import math
from typing import TypeAlias

from google.protobuf.struct_pb2 import Struct, Value

from lava_grpc.core.errors import invalid
from lava_grpc.gateway.checks import check_storable

DEPTH_MAX = 32
"""How deep an object may nest."""

_EXACT_MAX = 2.0**53

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"


def to_json(struct: Struct, field: str) -> str:
    """The object as JSON, keys sorted; refuses, naming `field`, what JSON or the store cannot hold.

    Whole numbers are spelled without a fraction.
    """
    fields = _object(struct, field, 1)
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def from_json(text: str) -> Struct:
    """The object that `to_json` spelled."""
    struct = Struct()
    struct.update(json.loads(text))
    return struct


def _object(struct: Struct, field: str, depth: int) -> dict[str, Json]:
    if depth > DEPTH_MAX:
        raise invalid(field, f"must nest at most {DEPTH_MAX} levels")
    return {
        check_storable(key, field): _value(value, field, depth)
        for key, value in struct.fields.items()
    }


def _value(value: Value, field: str, depth: int) -> Json:
    match value.WhichOneof("kind"):
        case "struct_value":
            return _object(value.struct_value, field, depth + 1)
        case "list_value":
            if depth >= DEPTH_MAX:
                raise invalid(field, f"must nest at most {DEPTH_MAX} levels")
            return [_value(item, field, depth + 1) for item in value.list_value.values]
        case "string_value":
            return check_storable(value.string_value, field)
        case "number_value":
            return _number(value.number_value, field)
        case "bool_value":
            return value.bool_value
        case _:
            return None


def _number(number: float, field: str) -> int | float:
    if not math.isfinite(number):
        raise invalid(field, "must hold finite numbers only")
    return int(number) if number.is_integer() and abs(number) <= _EXACT_MAX else number
