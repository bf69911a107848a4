"""Queries for accounts, their grants and their entries."""

from __future__ import annotations

from sqlalchemy import Connection, select, text

from lava_grpc.core.account import Account, Grant
from lava_grpc.core.books import StoredEntry
from lava_grpc.core.page import Page, Slice
from lava_grpc.store import rows, schema
from lava_grpc.store.cursors import newest_first
from lava_grpc.store.sql import ACCOUNT_COLUMNS, ENTRY_COLUMNS, GRANT_COLUMNS

_grants = schema.grants.c
_entries = schema.entries.c

_GRANT = [_grants[name] for name in GRANT_COLUMNS]
_ENTRY = [_entries[name] for name in ENTRY_COLUMNS]
_LISTED = ", ".join([f"a.{c}" for c in ACCOUNT_COLUMNS] + [f"g.{c}" for c in GRANT_COLUMNS])
_WITH_GRANTS = f"""SELECT {_LISTED} FROM accounts AS a LEFT JOIN grants AS g
    ON g.merchant_id = a.merchant_id AND g.account_id = a.account_id AND g.live
    WHERE a.merchant_id = :merchant_id AND a.account_id = :account_id"""  # noqa: S608 - our names


def find(connection: Connection, merchant_id: str, account_id: str) -> Account | None:
    """The account with its live grants, in burn order.

    One statement reads both, so that they are of one commit.
    """
    # SQLite has to be told the index: it has no statistics.
    hint = " INDEXED BY grants_live" if connection.dialect.name == "sqlite" else ""
    query = text(_WITH_GRANTS.replace(" AS g", f" AS g{hint}"))
    scope = {"merchant_id": merchant_id, "account_id": account_id}
    found = connection.execute(query, scope).all()
    if not found:
        return None
    account = rows.account_of(tuple(found[0])[: len(ACCOUNT_COLUMNS)])
    for row in found:
        grant = tuple(row)[len(ACCOUNT_COLUMNS) :]
        if grant[0] is not None:
            account.insert_grant(rows.grant_of(grant))
    return account


def list_grants(
    connection: Connection, merchant_id: str, account_id: str, page: Page
) -> Slice[Grant]:
    """All of an account's grants, newest first."""
    found, cursor = newest_first(
        connection,
        select(*_GRANT),
        _grants.grant_id,
        page,
        _grants.merchant_id == merchant_id,
        _grants.account_id == account_id,
        ids_first=True,
    )
    return Slice([rows.grant_of(tuple(row)) for row in found], cursor)


def list_entries(
    connection: Connection,
    merchant_id: str,
    page: Page,
    *,
    account_id: str | None,
    request_id: str | None,
) -> Slice[StoredEntry]:
    """Entries, newest first."""
    scope = [_entries.merchant_id == merchant_id]
    if account_id is not None:
        scope.append(_entries.account_id == account_id)
    if request_id is not None:
        scope.append(_entries.request_id == request_id)
    found, cursor = newest_first(
        connection, select(*_ENTRY), _entries.entry_id, page, *scope, ids_first=len(scope) > 1
    )
    return Slice([StoredEntry(*rows.entry_of(tuple(row))) for row in found], cursor)
