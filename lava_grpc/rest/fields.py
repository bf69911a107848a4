"""Descriptors, read once: which fields a message shows in JSON, and how enums are spelled."""

from __future__ import annotations

from functools import cache
from types import MappingProxyType
from typing import Final, cast

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

TIMESTAMP: Final = "google.protobuf.Timestamp"
STRUCT: Final = "google.protobuf.Struct"
LIST: Final = "google.protobuf.ListValue"
FIELD_MASK: Final = "google.protobuf.FieldMask"
STATUS: Final = "google.rpc.Status"

INTEGERS: Final = MappingProxyType(
    {
        FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
        FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    }
)
"""The integer types that our protos use (no unsigned ones), and what fits in them."""


def descriptor_of(message: Message | type[Message]) -> Descriptor:
    """The message's type. The stubs offer two classes for it, which are the same."""
    return cast("Descriptor", message.DESCRIPTOR)


def is_map(field: FieldDescriptor) -> bool:
    """Whether it is a `map<…>`."""
    return (
        field.is_repeated
        and field.message_type is not None
        and bool(field.message_type.GetOptions().map_entry)
    )


def is_optional(field: FieldDescriptor) -> bool:
    """Whether it is annotated OPTIONAL: left out of JSON when absent, instead of shown as null."""
    behaviors = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    return field_behavior_pb2.OPTIONAL in behaviors


def real_oneof(field: FieldDescriptor) -> str | None:
    """The name of the oneof that the field is in; `optional` makes none."""
    oneof = field.containing_oneof
    if oneof is None or (len(oneof.fields) == 1 and oneof.name == f"_{field.name}"):
        return None
    return oneof.name


def left_out(field: FieldDescriptor) -> bool:
    """Whether an answer leaves it out when absent, instead of showing null."""
    return not field.is_repeated and (is_optional(field) or real_oneof(field) is not None)


@cache
def enum_texts(enum: EnumDescriptor) -> MappingProxyType[int, str]:
    """Lava's spelling of each value: `RATE_TYPE_FIXED` is `fixed`. The zero value has none."""
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    texts = {v.number: v.name.removeprefix(prefix).lower() for v in enum.values if v.number}
    return MappingProxyType(texts)


@cache
def enum_numbers(enum: EnumDescriptor) -> MappingProxyType[str, int]:
    """The value of each spelling, Lava's and the proto's own."""
    numbers = {text: number for number, text in enum_texts(enum).items()}
    numbers |= {value.name: value.number for value in enum.values if value.number}
    return MappingProxyType(numbers)


def sub_message(field: FieldDescriptor) -> Descriptor:
    """The message type of a message field."""
    found = field.message_type
    if found is None:
        raise TypeError(f"{field.full_name} is no message field")
    return found


def enum_type(field: FieldDescriptor) -> EnumDescriptor:
    """The enum of an enum field."""
    found = field.enum_type
    if found is None:
        raise TypeError(f"{field.full_name} is no enum field")
    return found
