"""What fields and their types are in JSON Schema: the leaves of `openapi_schemas.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from lava_grpc.core.money import PLACES
from lava_grpc.rest.fields import FIELD_MASK, LIST, STRUCT, TIMESTAMP, real_oneof

Schema: TypeAlias = "dict[str, object]"

AMOUNT_PATTERN = rf"^-?[0-9]+\.[0-9]{{{PLACES}}}$"
AMOUNT_GIVEN_PATTERN = r"^[0-9]+(\.[0-9]+)?$"
UNLIMITED_PATTERN = rf"^(unlimited|-?[0-9]+\.[0-9]{{{PLACES}}})$"
UNLIMITED_GIVEN_PATTERN = r"^(unlimited|[0-9]+(\.[0-9]+)?)$"

UNLIMITED = frozenset(("available", "credit_limit"))
"""Amounts that may be the word."""

_AMOUNT_SAID = "decimal string"
# By name where the comment of the message says it for all of its fields.
_AMOUNTS = frozenset(
    (
        "amount",
        "auto_top_up_threshold",
        "balance",
        "bundle_remaining",
        "burned",
        "cost",
        "cost_amount",
        "credit_amount",
        "current_spend",
        "cycle_remaining",
        "default_auto_top_up_threshold",
        "expired",
        "held",
        "included_credit",
        "input_cost",
        "low_balance_threshold",
        "output_cost",
        "overage_limit",
        "period_amount",
        "rate",
        "remaining",
        "total_charge",
        "total_cost",
        "total_remaining",
        "total_spend",
    )
)


def is_amount(field: FieldDescriptor, comment: str) -> bool:
    """Whether a text is an amount of money, by its name or by what the proto says of it."""
    return field.name in _AMOUNTS or _AMOUNT_SAID in comment.lower()


def well_known(descriptor: Descriptor) -> Schema | None:
    """What a type of Google's is in JSON; None for one of ours."""
    match descriptor.full_name:
        case str(name) if name == TIMESTAMP:
            return {"type": "string", "format": "date-time"}
        case str(name) if name == STRUCT:
            return {"type": "object"}
        case str(name) if name == LIST:
            return {"type": "array", "items": {}}
        case _:
            return None


def nullable(schema: Schema) -> Schema:
    """The schema, or null."""
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    kind = schema["type"]
    kinds = kind if isinstance(kind, list) else [kind]
    return schema | {"type": [*kinds, "null"]}


def oneofs(descriptor: Descriptor) -> Iterator[list[str]]:
    """The names of each oneof. Raises ValueError for a second one, which has no schema yet."""
    found: dict[str, list[str]] = {}
    for field in descriptor.fields:
        if (name := real_oneof(field)) is not None:
            found.setdefault(name, []).append(field.name)
    if len(found) > 1:
        raise ValueError(f"{descriptor.full_name} has more than one oneof")
    yield from found.values()


def is_mask(field: FieldDescriptor) -> bool:
    """Whether it is a field mask, which no body has."""
    return field.message_type is not None and field.message_type.full_name == FIELD_MASK


def bits(field: FieldDescriptor) -> int:
    """How wide an integer is."""
    return 32 if field.type == FieldDescriptor.TYPE_INT32 else 64


def camel(name: str) -> str:
    """The name in camel case."""
    return "".join(part.capitalize() for part in name.split("_"))
