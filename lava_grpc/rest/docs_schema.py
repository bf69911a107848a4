"""JSON Schema for readers: in a few words, or as a table of properties."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any, TypeAlias

Node: TypeAlias = Mapping[str, Any]

_BOUNDS = {
    "minimum": "from",
    "maximum": "to",
    "default": "default",
    "maxItems": "at most",
    "minLength": "characters from",
    "maxLength": "characters to",
}
# The range of every 32 or 64 bit integer says nothing new.
_UNSAID = frozenset((-(2**31), 2**31 - 1, -(2**63), 2**63 - 1))


def sentence(schema: Node) -> str:
    """The schema in a few words, as HTML."""
    if (reference := schema.get("$ref")) is not None:
        name = escape(str(reference).rpartition("/")[2])
        return f'<a href="#schema-{name}"><code>{name}</code></a>'
    for key, word in (("anyOf", " or "), ("allOf", " with ")):
        if key in schema:
            return word.join(sentence(each) for each in schema[key])
    if "const" in schema:
        return f"<code>{escape(str(schema['const']))}</code>"
    if "enum" in schema:
        return " or ".join(f"<code>{escape(str(each))}</code>" for each in schema["enum"])
    if "type" not in schema:
        return ", ".join(_narrowed(schema)) or "anything"
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return " or ".join(_kind(kind, schema) for kind in kinds) + _bounds(schema)


def table_of(schema: Node, inline: Callable[[str], str]) -> str:
    """The table of an object's properties; empty for what has none."""
    properties: Node = schema.get("properties", {})
    if not properties:
        return "" if schema.get("type") == "object" else f"<p>{sentence(schema)}</p>"
    required = schema.get("required", ())
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code>{' (always there)' if name in required else ''}</td>"
        f"<td>{sentence(each)}</td><td>{inline(each.get('description', ''))}</td></tr>"
        for name, each in properties.items()
    )
    return f"<table>{rows}</table>"


def _kind(kind: str, schema: Node) -> str:
    if kind == "array":
        return f"list of {sentence(schema.get('items', {}))}"
    if kind == "object" and isinstance(values := schema.get("additionalProperties"), dict):
        return f"object of {sentence(values)}"
    if kind == "string" and "format" in schema:
        return escape(schema["format"])
    if kind == "string" and "pattern" in schema:
        return f"string <code>{escape(schema['pattern'])}</code>"
    return escape(kind)


def _bounds(schema: Node) -> str:
    told = [
        f"{word} {schema[key]}"
        for key, word in _BOUNDS.items()
        if key in schema and schema[key] not in _UNSAID
    ]
    return f", {', '.join(told)}" if told else ""


def _narrowed(schema: Node) -> list[str]:
    """What a part of an `allOf` says of the whole's properties."""
    return [
        f"{escape(name)} {sentence(each)}" for name, each in schema.get("properties", {}).items()
    ]
