"""Questions about JSON documents, in each engine's words."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, cast, func
from sqlalchemy.dialects.postgresql import JSONB


def text_at(connection: Connection, document: ColumnElement[Any], *path: str) -> ColumnElement[str]:
    """The text at `path`, a chain of names, in a document; NULL where there is none."""
    if connection.dialect.name == "postgresql":
        return func.jsonb_extract_path_text(cast(document, JSONB), *path)
    # Quoted, so that a name with a dot is one name. Validation keeps quotes out of names.
    quoted = "".join([f'."{name}"' for name in path])
    return func.json_extract(document, f"${quoted}")


def has_labels(
    connection: Connection,
    document: ColumnElement[Any],
    labels: tuple[tuple[str, str], ...],
    *path: str,
) -> ColumnElement[bool]:
    """Whether the object at `path` in a document has all of these labels, one at least."""
    if connection.dialect.name == "postgresql":
        wanted: dict[str, object] = dict(labels)
        for name in reversed(path):
            wanted = {name: wanted}
        return cast(document, JSONB).contains(wanted)
    return and_(*[text_at(connection, document, *path, name) == value for name, value in labels])
