"""Fill a request message from its URL: path parameters and the query."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import TypeAlias
from urllib.parse import parse_qsl

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from lava_grpc.core.errors import invalid
from lava_grpc.rest.fields import TIMESTAMP, descriptor_of, sub_message
from lava_grpc.rest.scalars import to_timestamp, url_converter

QUERY_FIELDS_MAX = 100
"""The most parameters that a query may have."""

_NAME_SHOWN_MAX = 80

Set: TypeAlias = Callable[[Message, str, str], None]
"""Sets one field of a message from a text, named by the last argument in errors."""


def parse_query(query: str) -> list[tuple[str, str]]:
    """The query's parameters in order. Raises INVALID_FIELD for `query`."""
    if not query:
        return []
    try:
        return parse_qsl(
            query, keep_blank_values=True, errors="strict", max_num_fields=QUERY_FIELDS_MAX
        )
    except UnicodeDecodeError:
        raise invalid("query", "must be percent-encoded UTF-8") from None
    except ValueError:
        raise invalid("query", f"has more than {QUERY_FIELDS_MAX} parameters") from None


def fill_from_query(
    message: Message, pairs: Iterable[tuple[str, str]], bound: frozenset[str]
) -> None:
    """Set the fields that the query names, `a.b` for a field within a field.

    Raises INVALID_FIELD for a parameter that is no field or is `bound`
    elsewhere, and for one that is given twice and not repeated.
    """
    seen: set[str] = set()
    for name, text in pairs:
        shown = name[:_NAME_SHOWN_MAX]
        found = None if name in bound else setter_of(descriptor_of(message), name)
        if found is None:
            raise invalid(shown, "is not a known parameter")
        setter, repeated = found
        if name in seen and not repeated:
            raise invalid(shown, "is given twice")
        seen.add(name)
        setter(message, text, shown)


@cache
def _setters(descriptor: Descriptor) -> dict[str, tuple[Set, bool]]:
    return {f.name: (_setter(f), f.is_repeated) for f in descriptor.fields if _fits(f)}


def setter_of(descriptor: Descriptor, path: str) -> tuple[Set, bool] | None:
    """What sets the field at `path`, and whether it is repeated; None if a URL cannot name it."""
    first, _, rest = path.partition(".")
    if not rest:
        return _setters(descriptor).get(first)
    outer = descriptor.fields_by_name.get(first)
    if outer is None or outer.message_type is None or outer.is_repeated:
        return None
    inner = setter_of(sub_message(outer), rest)
    if inner is None:
        return None
    return _nested(first, inner[0]), inner[1]


def fields_of(descriptor: Descriptor) -> list[FieldDescriptor]:
    """The message's own fields that a URL can set."""
    return [field for field in descriptor.fields if field.name in _setters(descriptor)]


def field_of(descriptor: Descriptor, path: str) -> FieldDescriptor:
    """The field at `path`. Raises KeyError where there is none."""
    first, _, rest = path.partition(".")
    field = descriptor.fields_by_name[first]
    return field_of(sub_message(field), rest) if rest else field


def _nested(name: str, inner: Set) -> Set:
    return lambda message, text, path: inner(getattr(message, name), text, path)


def _fits(field: FieldDescriptor) -> bool:
    if field.message_type is None:
        return True
    return field.message_type.full_name == TIMESTAMP and not field.is_repeated


def _setter(field: FieldDescriptor) -> Set:
    name = field.name
    if field.message_type is not None:
        return lambda message, text, path: getattr(message, name).CopyFrom(to_timestamp(text, path))
    convert = url_converter(field)
    if field.is_repeated:
        return lambda message, text, path: getattr(message, name).append(convert(text, path))
    return lambda message, text, path: setattr(message, name, convert(text, path))
