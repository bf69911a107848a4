"""What use cases check alike: texts, labels, ids; and the fingerprint of a call's content."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from hashlib import blake2b
from typing import Any, TypeAlias

from msgspec import Struct, structs

from lava_grpc.core.errors import Refusal, invalid

TEXT_CHARS_MAX = 255
"""The longest id, name, label key or label value."""

LABELS_MAX = 100
"""The most labels on one call."""

_LABEL_KEY = re.compile(r"[A-Za-z0-9_]{1,255}")
_LABEL_SHOWN_MAX = 80
_FINGERPRINT_BYTES = 16

Labels: TypeAlias = tuple[tuple[str, str], ...]


def check_text(value: str, field: str, *, chars_max: int = TEXT_CHARS_MAX) -> str:
    """`value`, or a refusal naming `field`: 1 to `chars_max` characters that can be stored."""
    if not value:
        raise invalid(field, "must not be empty")
    if len(value) > chars_max:
        raise invalid(field, f"must have at most {chars_max} characters")
    return check_storable(value, field)


def check_storable(value: str, field: str) -> str:
    """`value`, or a refusal naming `field` if it holds NUL or half of a surrogate pair.

    PostgreSQL has no NUL in texts, and UTF-8 no surrogates.
    """
    if "\0" in value:
        raise invalid(field, "must not contain NUL characters")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise invalid(field, "must not contain lone surrogates") from None
    return value


def check_id(value: str, field: str) -> str:
    """`value`, or a refusal naming `field`: 1 to 255 printable characters."""
    if len(value) > TEXT_CHARS_MAX or not value or not value.isprintable():
        raise invalid(field, f"must be 1 to {TEXT_CHARS_MAX} printable characters")
    return value


def check_labels(labels: Mapping[str, str], field: str = "metadata") -> Labels:
    """The labels sorted by key, or a refusal naming the label (`metadata.key`)."""
    if not labels:
        return ()
    if len(labels) > LABELS_MAX:
        raise invalid(field, f"must have at most {LABELS_MAX} pairs")
    pairs = sorted(labels.items())
    for key, value in pairs:
        if _LABEL_KEY.fullmatch(key) is None:
            raise _bad_key(field, key)
        check_text(value, f"{field}.{key[:_LABEL_SHOWN_MAX]}")
    return tuple(pairs)


def _bad_key(field: str, key: str) -> Refusal:
    shown = key[:_LABEL_SHOWN_MAX].encode("ascii", "backslashreplace").decode()
    why = f"must have a key of 1 to {TEXT_CHARS_MAX} ASCII letters, digits and underscores"
    return invalid(f"{field}.{shown}" if shown.isprintable() and shown else field, why)


def fingerprint(*parts: object) -> str:
    """32 hex digits that are equal for equal content, and differ for other content.

    Takes texts, numbers, bytes, enums, None, sequences, mappings, dataclasses and
    structs of these. A field that has its default counts as absent, so that one added in
    a later release changes nothing for calls that do not use it.
    """
    # The ASCII spelling of nested lists and tuples of plain values is unambiguous, and the
    # same on every version of Python and Unicode.
    spelled = ascii([p if type(p) in _ATOMS else _plain(p) for p in parts]).encode()
    return blake2b(spelled, digest_size=_FINGERPRINT_BYTES).hexdigest()


_ATOMS = frozenset((str, int, bool, type(None)))


def _plain(value: object) -> object:
    """Lists for sequences; tuples, led by a kind, for whatever else is no atom."""
    if type(value) in _ATOMS:
        return value
    match value:
        case Enum():
            return _plain(value.value)
        case str() | int():
            raise TypeError(f"no fingerprint of {type(value).__name__}")
        case bytes():
            return ("bytes", blake2b(value, digest_size=_FINGERPRINT_BYTES).hexdigest())
        case tuple() | list():
            return [_plain(item) for item in value]
        case Mapping():
            pairs = [(_plain(key), _plain(item)) for key, item in value.items()]
            return ("mapping", *sorted(pairs, key=ascii))
        case _ if isinstance(value, Struct) or (
            is_dataclass(value) and not isinstance(value, type)
        ):
            return (type(value).__name__, *_given(value))
        case _:
            raise TypeError(f"no fingerprint of {type(value).__name__}")


def _given(value: object) -> list[tuple[str, object]]:
    kind: type[Any] = type(value)
    read, names, defaults = _fields(kind)
    return [
        (name, _plain(item))
        for name, item, default in zip(names, read(value), defaults, strict=True)
        if item != default
    ]


_Fields: TypeAlias = tuple[Callable[[Any], tuple[Any, ...]], tuple[str, ...], tuple[Any, ...]]
_known_fields: dict[type, _Fields] = {}


def _fields(kind: type[Any]) -> _Fields:
    """What gives a value's fields, their names, and their defaults; of a few of our own classes."""
    known = _known_fields.get(kind)
    if known is None:
        known = _known_fields[kind] = _looked_up(kind)
    return known


def _looked_up(kind: type[Any]) -> _Fields:
    if issubclass(kind, Struct):
        of_struct = structs.fields(kind)
        return (
            structs.astuple,
            tuple([field.name for field in of_struct]),
            tuple([field.default for field in of_struct]),
        )
    found = fields(kind)
    names = tuple([field.name for field in found])
    return (
        lambda value: tuple([getattr(value, name) for name in names]),
        names,
        tuple([field.default for field in found]),
    )
