"""Messages as JSON Schema (2020-12): what json_reader takes, and what json_writer writes.

A message has two schemas where it goes both ways: an answer holds every field that is
not left out, and a request may leave any out, spell numbers as strings, and say null.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import TypeAlias

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from lava_grpc.core.page import LIMIT_DEFAULT, LIMIT_MAX
from lava_grpc.rest.fields import (
    INTEGERS,
    STATUS,
    enum_texts,
    enum_type,
    is_map,
    left_out,
    sub_message,
)
from lava_grpc.rest.json_reader import ITEMS_MAX
from lava_grpc.rest.openapi_leaves import (
    AMOUNT_GIVEN_PATTERN,
    AMOUNT_PATTERN,
    UNLIMITED,
    UNLIMITED_GIVEN_PATTERN,
    UNLIMITED_PATTERN,
    Schema,
    bits,
    camel,
    is_amount,
    is_mask,
    nullable,
    oneofs,
    well_known,
)

Comments: TypeAlias = Mapping[str, str]
"""What the protos say of each message, field, enum, value and RPC, by its full name."""

ERROR_SCHEMA = "ErrorDetail"
"""The component that is one refusal."""

_INTEGER_TEXT = "^-?[0-9]{1,19}$"


class Schemas:
    """The components, filled as they are named."""

    def __init__(self, comments: Comments) -> None:
        self._comments = comments
        self._made: dict[str, Schema] = {}
        self._owners: dict[str, str] = {}

    @property
    def made(self) -> Mapping[str, Schema]:
        """Every schema so far, sorted by name."""
        return dict(sorted(self._made.items()))

    def answer(self, descriptor: Descriptor) -> Schema:
        """A reference to the message as an answer shows it."""
        return self._component(
            descriptor.name, descriptor.full_name, lambda: self._shown(descriptor)
        )

    def body(self, descriptor: Descriptor, *, bound: frozenset[str] = frozenset()) -> Schema:
        """A reference to the message as a body gives it, without what the path says already."""
        name = descriptor.name
        if not name.endswith(("Request", "Input")):
            name += "Input"
        if bound:
            name += f"Without{''.join(camel(each) for each in sorted(bound))}"
        return self._component(name, descriptor.full_name, lambda: self._given(descriptor, bound))

    def in_url(self, field: FieldDescriptor) -> Schema:
        """One value of the path or the query, which cannot be null."""
        schema = self._given_one(field)
        if field.cpp_type in INTEGERS:
            low, high = INTEGERS[field.cpp_type]
            schema = {"type": "integer", "minimum": low, "maximum": high}
        if field.name == "limit":
            schema |= {"minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT}
        if field.is_repeated:
            return {"type": "array", "items": schema}
        return schema

    def comment(self, full_name: str) -> str:
        """What the protos say of it; empty where they say nothing."""
        return self._comments.get(full_name, "")

    def _component(self, name: str, full_name: str, make: Callable[[], Schema]) -> Schema:
        owner = self._owners.setdefault(name, full_name)
        if owner != full_name:
            raise ValueError(f"{owner} and {full_name} would both be {name}")
        if name not in self._made:
            # Named before it is made, so that a message may hold itself.
            self._made[name] = {}
            self._made[name] = make()
        return {"$ref": f"#/components/schemas/{name}"}

    def _shown(self, descriptor: Descriptor) -> Schema:
        properties = {f.name: self._described(f, self._shown_field(f)) for f in descriptor.fields}
        required = [f.name for f in descriptor.fields if not left_out(f)]
        schema = self._object(descriptor, properties)
        if required:
            schema["required"] = required
        for names in oneofs(descriptor):
            schema["oneOf"] = [{"required": [name]} for name in names]
        return schema

    def _given(self, descriptor: Descriptor, bound: frozenset[str]) -> Schema:
        fields = [f for f in descriptor.fields if not is_mask(f) and f.name not in bound]
        schema = self._object(
            descriptor, {f.name: self._described(f, self._given_field(f)) for f in fields}
        )
        for names in oneofs(descriptor):
            schema["not"] = {"anyOf": [{"required": list(two)} for two in combinations(names, 2)]}
        return schema

    def _object(self, descriptor: Descriptor, properties: Mapping[str, Schema]) -> Schema:
        schema: Schema = {"type": "object"}
        if comment := self.comment(descriptor.full_name):
            schema["description"] = comment
        return schema | {"properties": properties, "additionalProperties": False}

    def _described(self, field: FieldDescriptor, schema: Schema) -> Schema:
        comment = self.comment(field.full_name)
        return schema | {"description": comment} if comment else schema

    def _shown_field(self, field: FieldDescriptor) -> Schema:
        if is_map(field):
            value = self._shown_one(sub_message(field).fields_by_name["value"])
            return {"type": "object", "additionalProperties": value}
        schema = self._shown_one(field)
        if field.is_repeated:
            return {"type": "array", "items": schema}
        absent = field.has_presence or field.type == FieldDescriptor.TYPE_ENUM
        return nullable(schema) if absent and not left_out(field) else schema

    def _shown_one(self, field: FieldDescriptor) -> Schema:
        match field.type:
            case FieldDescriptor.TYPE_MESSAGE:
                return self._shown_message(sub_message(field))
            case FieldDescriptor.TYPE_STRING if field.name in UNLIMITED:
                return {"type": "string", "pattern": UNLIMITED_PATTERN}
            case FieldDescriptor.TYPE_STRING if is_amount(field, self.comment(field.full_name)):
                return {"type": "string", "pattern": AMOUNT_PATTERN}
            case FieldDescriptor.TYPE_INT32 | FieldDescriptor.TYPE_INT64:
                return {"type": "integer", "format": f"int{bits(field)}"}
            case _:
                return self._scalar(field)

    def _shown_message(self, descriptor: Descriptor) -> Schema:
        match descriptor.full_name:
            case str(name) if name == STATUS:
                return {"$ref": f"#/components/schemas/{ERROR_SCHEMA}"}
            case _:
                return well_known(descriptor) or self.answer(descriptor)

    def _given_field(self, field: FieldDescriptor) -> Schema:
        if is_map(field):
            value = self._given_one(sub_message(field).fields_by_name["value"])
            return {
                "type": ["object", "null"],
                "maxProperties": ITEMS_MAX,
                "additionalProperties": value,
            }
        schema = self._given_one(field)
        if field.is_repeated:
            return {"type": ["array", "null"], "maxItems": ITEMS_MAX, "items": schema}
        return nullable(schema)

    def _given_one(self, field: FieldDescriptor) -> Schema:
        match field.type:
            case FieldDescriptor.TYPE_MESSAGE:
                descriptor = sub_message(field)
                return well_known(descriptor) or self.body(descriptor)
            case FieldDescriptor.TYPE_STRING if field.name in UNLIMITED:
                return {"type": "string", "pattern": UNLIMITED_GIVEN_PATTERN}
            case FieldDescriptor.TYPE_STRING if is_amount(field, self.comment(field.full_name)):
                return {"type": "string", "pattern": AMOUNT_GIVEN_PATTERN}
            case FieldDescriptor.TYPE_INT32 | FieldDescriptor.TYPE_INT64:
                low, high = INTEGERS[field.cpp_type]
                return {
                    "type": ["integer", "string"],
                    "minimum": low,
                    "maximum": high,
                    "pattern": _INTEGER_TEXT,
                }
            case FieldDescriptor.TYPE_BYTES:
                return {"type": "string", "contentEncoding": "base64"}
            case _:
                return self._scalar(field)

    def _scalar(self, field: FieldDescriptor) -> Schema:
        match field.type:
            case FieldDescriptor.TYPE_STRING:
                return {"type": "string"}
            case FieldDescriptor.TYPE_BOOL:
                return {"type": "boolean"}
            case FieldDescriptor.TYPE_DOUBLE:
                return {"type": "number"}
            case FieldDescriptor.TYPE_ENUM:
                return self._enum(enum_type(field))
            case _:
                raise TypeError(f"{field.full_name} has a type that REST does not carry")

    def _enum(self, enum: EnumDescriptor) -> Schema:
        def make() -> Schema:
            texts = enum_texts(enum)
            said = [self.comment(enum.full_name)]
            for value in enum.values:
                name = f"{enum.full_name.rpartition('.')[0]}.{value.name}"
                if value.number and (comment := self.comment(name)):
                    said.append(f"`{texts[value.number]}`: {comment}")
            return {
                "type": "string",
                "enum": list(texts.values()),
                "description": "\n\n".join(filter(None, said)),
            }

        return self._component(enum.name, enum.full_name, make)
