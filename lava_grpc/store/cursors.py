"""Pages of a list whose ids sort by creation: newest first, each after the last item before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, select

from lava_grpc.core.errors import Refusal, invalid
from lava_grpc.core.page import Page


def newest_first(
    connection: Connection,
    query: Select[Any],
    key: ColumnElement[str],
    page: Page,
    *scope: ColumnElement[bool],
    among: Sequence[ColumnElement[bool]] = (),
    order: ColumnElement[str] | None = None,
    ids_first: bool = False,
) -> tuple[list[Sequence[Any]], str | None]:
    """One page of `query` within `scope`, by `key` descending; the next cursor, None on the last.

    The second column of `query` is the key, after the merchant's id; `order` is another
    spelling of it, to sort by. `ids_first` finds the ids before any row is read or joined:
    SQLite, which has no statistics, else prefers the primary key to an index on the scope and
    filters all rows of the merchant; PostgreSQL else merges what is joined from its newest row
    on, however deep the page. Refuses INVALID_FIELD for a cursor that is no item of the scope.
    What is listed meets `among` too; a cursor need not, since an item may change between pages.
    """
    ids = select(key).where(*scope, *among)
    query = query.where(*scope)
    if page.cursor is not None:
        known = select(key).where(key == page.cursor, and_(*scope))
        if connection.execute(known).first() is None:
            raise no_cursor()
        query = query.where(key < page.cursor)
        ids = ids.where(key < page.cursor)
    by = key if order is None else order
    if ids_first:
        query = query.where(key.in_(ids.order_by(by.desc()).limit(page.limit + 1)))
    else:
        query = query.where(*among)
    found = connection.execute(query.order_by(by.desc()).limit(page.limit + 1))
    return cut(list(found), page)


def cut(found: list[Sequence[Any]], page: Page) -> tuple[list[Sequence[Any]], str | None]:
    """The page's rows out of one row more than that, and the next cursor: a row's second column."""
    rows = found[: page.limit]
    return rows, rows[-1][1] if len(found) > page.limit else None


def no_cursor() -> Refusal:
    """The refusal of a cursor that no list gave out."""
    return invalid("cursor", "must be the next_cursor of an earlier page")
