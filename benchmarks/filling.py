"""Fills a database with years of a merchant's business, by set statements and not by RPC.

The rows are those that the ledger would have written: `verify` is clean on them. Every
request was held, and settled under its hold; every fourth one was forwarded with the
platform's key and its cost paid by the wallet; every tenth carries a label.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, Index, create_engine, event, text

from lava_grpc.core.time import SECOND, Instant
from lava_grpc.store import schema

METERS = 50
TEAMS = 100
RARE = 5
"""How many requests, the oldest ones, carry the rare label and use the rare meter."""

DAYS = 180
STEP = 7919
"""A prime that spreads requests over customers."""

CHARGE, COST, HELD = 25_000_000, 10_000_000, 30_000_000
GRANTED = 10**16
RATE = 50_000_000_000
CHUNK = 100_000

RARE_LABEL = ("ticket", "4711")
RARE_METER = "prd_rare"
BIG_TABLES = ("customers", "accounts", "grants", "holds", "requests", "request_labels", "entries")


@dataclass(frozen=True, slots=True)
class Size:
    """How much to fill in; each customer gets the same number of requests."""

    customers: int
    requests: int

    @property
    def per_customer(self) -> int:
        """Requests of each customer."""
        return self.requests // self.customers


def customer_id(number: int) -> str:
    """The id of the customer with this number."""
    return f"con_01{number:024d}"


def request_id(number: int) -> str:
    """The id of the request with this number: 0 is the oldest."""
    return f"req_01{number:024d}"


def entry_id(number: int) -> str:
    """The id of the entry of the request with this number."""
    return f"01{2 * number:024d}"


def fill(
    url: str, merchant_id: str, size: Size, now: Instant, tell: Callable[[str], None] = print
) -> float:
    """Fill the migrated database; how many seconds that took."""
    if size.customers < 1 or size.requests % size.customers or size.customers % STEP == 0:
        raise ValueError("requests must be a multiple of customers")
    begun = time.perf_counter()
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _fast)
    # Indexes are built once over all rows: that is several times as fast.
    with engine.begin() as connection:
        for index in _indexes():
            index.drop(connection)
    filler = _Filler(engine.dialect.name, merchant_id, size, now)
    for name, statement, count in filler.steps():
        for start in range(0, count, CHUNK):
            with engine.begin() as connection:
                _run(connection, statement, start, min(start + CHUNK, count))
        tell(f"{name}: {count} rows, {time.perf_counter() - begun:.0f} s")
    with engine.begin() as connection:
        for statement in filler.sums():
            connection.execute(text(statement))
        for index in _indexes():
            index.create(connection)
    tell(f"indexes: {time.perf_counter() - begun:.0f} s")
    # As in a fresh deployment, nobody has looked at tables that are empty.
    if engine.dialect.name == "postgresql" and size.requests:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
            connection.exec_driver_sql("CHECKPOINT")
    engine.dispose()
    return time.perf_counter() - begun


def table_bytes(url: str) -> dict[str, int]:
    """Bytes of each big table, its indexes included; of the whole file on SQLite."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            if engine.dialect.name == "postgresql":
                return {
                    name: connection.execute(
                        text("SELECT pg_total_relation_size(CAST(:name AS regclass))"),
                        {"name": name},
                    ).scalar_one()
                    for name in BIG_TABLES
                }
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            size = connection.exec_driver_sql("PRAGMA page_size").scalar_one()
            return {"file": int(pages) * int(size)}
    finally:
        engine.dispose()


def _fast(connection: object, _record: object) -> None:
    # What is lost in a crash of a benchmark is filled in again.
    for setting in ("journal_mode = WAL", "synchronous = OFF", "cache_size = -262144"):
        getattr(connection, "execute")(f"PRAGMA {setting}")  # noqa: B009 - a driver's


def _indexes() -> list[Index]:
    return [
        index
        for name in BIG_TABLES
        for index in sorted(schema.metadata.tables[name].indexes, key=lambda i: str(i.name))
    ]


def _run(connection: Connection, statement: str, start: int, end: int) -> None:
    connection.execute(text(statement), {"first": start, "last": end - 1})


class _Filler:
    """The statements, in one engine's words."""

    def __init__(self, dialect: str, merchant_id: str, size: Size, now: Instant) -> None:
        self._postgres = dialect == "postgresql"
        self._merchant = merchant_id
        self._size = size
        self._begin = now - DAYS * 86_400 * SECOND
        self._step = DAYS * 86_400 * SECOND // max(size.requests, 1)

    def steps(self) -> list[tuple[str, str, int]]:
        """Each table's name, its INSERT over a range of numbers, and how many there are."""
        size = self._size
        return [
            ("meters", self._meters(), METERS + 1),
            ("customers", self._customers(), size.customers),
            ("accounts", self._accounts(), size.customers),
            ("grants", self._grants(), size.customers),
            ("entries of grants", self._grant_entries(), size.customers),
            ("holds", self._holds(), size.requests),
            ("requests", self._requests(), size.requests),
            ("labels", self._labels(), size.requests),
            ("entries of charges", self._charges(), size.requests),
            ("entries of costs", self._costs(), size.requests),
        ]

    def sums(self) -> list[str]:
        """What the wallet paid."""
        forwarded = (self._size.requests + 3) // 4
        return [
            (
                f"UPDATE accounts SET balance = balance - {forwarded * COST}"  # noqa: S608
                f" WHERE merchant_id = '{self._merchant}' AND account_id = '{self._merchant}'"
            )
        ]

    def _insert(self, table: str, values: dict[str, str], where: str = "true") -> str:
        listed, selected = ", ".join(values), ", ".join(values.values())
        if self._postgres:
            source, prefix = (
                "generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n(i)",
                "",
            )
        else:
            source = "n"
            prefix = (
                "WITH RECURSIVE n(i) AS (SELECT :first UNION ALL"
                " SELECT i + 1 FROM n WHERE i < :last) "
            )
        return (
            f"INSERT INTO {table} ({listed}) {prefix}SELECT {selected} FROM {source}"  # noqa: S608
            f" WHERE {where}"
        )

    def _id(self, prefix: str, number: str = "i") -> str:
        if self._postgres:
            return f"'{prefix}' || lpad(CAST({number} AS text), 24, '0')"
        return f"'{prefix}' || printf('%024d', {number})"

    def _customer(self) -> str:
        return self._id("con_01", f"((i * {STEP}) % {self._size.customers})")

    def _grant(self) -> str:
        return self._id("cgr_01", f"((i * {STEP}) % {self._size.customers})")

    def _time(self) -> str:
        return f"{self._begin} + i * {self._step}"

    def _meter(self) -> str:
        return f"CASE WHEN i < {RARE} THEN '{RARE_METER}' ELSE 'prd_' || (i % {METERS}) END"

    def _label(self) -> str:
        name, value = RARE_LABEL
        return f"CASE WHEN i < {RARE} THEN '{name}={value}' ELSE 'team=t' || (i / 10 % {TEAMS}) END"

    def _mine(self) -> dict[str, str]:
        return {"merchant_id": f"'{self._merchant}'"}

    def _meters(self) -> str:
        ident = f"CASE WHEN i = {METERS} THEN '{RARE_METER}' ELSE 'prd_' || i END"
        return self._insert(
            "meters",
            {
                **self._mine(),
                "meter_id": ident,
                "slug": f"'slug-' || {ident}",
                "name": "'meter'",
                "rate_type": "'fixed'",
                "tier_type": "'tokens_1m'",
                "basis": "'both'",
                "tiers": f"'[[0,{RATE}]]'",
                "created_at": str(self._begin),
            },
        )

    def _customers(self) -> str:
        return self._insert(
            "customers",
            {
                **self._mine(),
                "customer_id": self._id("con_01"),
                "reference_id": "'user-' || i",
                "name": "'Customer ' || i",
                "email": "'user' || i || '@example.com'",
                "created_at": str(self._begin),
            },
        )

    def _accounts(self) -> str:
        return self._insert(
            "accounts",
            {
                **self._mine(),
                "account_id": self._id("con_01"),
                "kind": "'customer'",
                "balance": str(GRANTED - self._size.per_customer * CHARGE),
                "held": "0",
                "credit_limit": "0",
            },
        )

    def _grants(self) -> str:
        burned = self._size.per_customer * CHARGE
        return self._insert(
            "grants",
            {
                **self._mine(),
                "grant_id": self._id("cgr_01"),
                "account_id": self._id("con_01"),
                "source": "'top_up'",
                "priority": "20",
                "amount": str(GRANTED),
                "remaining": str(GRANTED - burned),
                "held": "0",
                "burned": str(burned),
                "expired": "0",
                "created_at": str(self._begin),
                "request_id": self._id("req_00"),
                "fingerprint": "'0123456789abcdef0123456789abcdef'",
            },
        )

    def _grant_entries(self) -> str:
        return self._insert(
            "entries",
            {
                **self._mine(),
                "entry_id": self._id("00"),
                "account_id": self._id("con_01"),
                "debit": "'issuance'",
                "credit": self._id("con_01"),
                "amount": str(GRANTED),
                "kind": "'grant'",
                "request_id": self._id("req_00"),
                "grant_id": self._id("cgr_01"),
                "created_at": str(self._begin),
            },
        )

    def _holds(self) -> str:
        legs = f"'[[\"charge\",\"' || {self._grant()} || '\",{HELD}]'"
        cost = f"CASE WHEN i % 4 = 0 THEN ',[\"cost\",null,{HELD}]]' ELSE ']' END"
        facts = {"provider": "openai", "key_type": "managed", "endpoint": "/v1/chat/completions"}
        return self._insert(
            "holds",
            {
                **self._mine(),
                "hold_id": self._id("res_01"),
                "request_id": self._id("req_01"),
                "kind": "CASE WHEN i % 4 = 0 THEN 'forward' ELSE 'authorize' END",
                "state": "'settled'",
                "charge_account_id": self._customer(),
                "cost_account_id": f"CASE WHEN i % 4 = 0 THEN '{self._merchant}' END",
                "legs": f"{legs} || {cost}",
                "facts": f'\'{_opened(facts)}"customer_id":"\' || {self._customer()}'
                f' || \'","meter_id":"\' || {self._meter()} || \'"}}\'',
                "created_at": self._time(),
                "expires_at": f"{self._time()} + {120 * SECOND}",
                "ended_at": f"{self._time()} + {SECOND}",
                "fingerprint": "'0123456789abcdef0123456789abcdef'",
            },
        )

    def _requests(self) -> str:
        usage = {"input_tokens": 400, "output_tokens": 100}
        lines = ["fixed", [[0, RATE, "tokens_1m", 500, CHARGE]]]
        name, value = RARE_LABEL
        document = (
            f"CASE WHEN i < {RARE} THEN '{json.dumps({name: value}).replace(':', chr(92) + ':')}'"
            f" WHEN i % 10 = 0 THEN '{{\"team\"\\:\"t' || (i / 10 % {TEAMS}) || '\"}}'"
            " ELSE '{}' END"
        )
        return self._insert(
            "requests",
            {
                **self._mine(),
                "request_id": self._id("req_01"),
                "status": "'completed'",
                "customer_id": self._customer(),
                "meter_id": self._meter(),
                "provider": "'openai'",
                "key_type": "'managed'",
                "model": "'gpt-4o-mini'",
                "endpoint": "'/v1/chat/completions'",
                "response_id": self._id("chatcmpl-"),
                "usage": f"'{_text(usage)}'",
                "total_tokens": "500",
                "input_cost": f"CASE WHEN i % 4 = 0 THEN {COST // 2} ELSE 0 END",
                "output_cost": f"CASE WHEN i % 4 = 0 THEN {COST // 2} ELSE 0 END",
                "cost": f"CASE WHEN i % 4 = 0 THEN {COST} ELSE 0 END",
                "charge": str(CHARGE),
                "charge_lines": f"'{_text(lines)}'",
                "flags": "''",
                "hold_id": self._id("res_01"),
                "held": str(HELD),
                "metadata": f"CAST({document} AS jsonb)" if self._postgres else document,
                "created_at": self._time(),
                "ended_at": f"{self._time()} + {SECOND}",
                "fingerprint": "'0123456789abcdef0123456789abcdef'",
            },
        )

    def _labels(self) -> str:
        return self._insert(
            "request_labels",
            {
                **self._mine(),
                "label": self._label(),
                "created_at": self._time(),
                "request_id": self._id("req_01"),
            },
            where=f"i < {RARE} OR i % 10 = 0",
        )

    def _charges(self) -> str:
        return self._insert(
            "entries",
            {
                **self._mine(),
                "entry_id": self._id("01", "2 * i"),
                "account_id": self._customer(),
                "debit": self._customer(),
                "credit": "'revenue'",
                "amount": str(CHARGE),
                "kind": "'charge'",
                "request_id": self._id("req_01"),
                "hold_id": self._id("res_01"),
                "grant_id": self._grant(),
                "created_at": f"{self._time()} + {SECOND}",
            },
        )

    def _costs(self) -> str:
        return self._insert(
            "entries",
            {
                **self._mine(),
                "entry_id": self._id("01", "2 * i + 1"),
                "account_id": f"'{self._merchant}'",
                "debit": f"'{self._merchant}'",
                "credit": "'providers'",
                "amount": str(COST),
                "kind": "'cost'",
                "request_id": self._id("req_01"),
                "hold_id": self._id("res_01"),
                "created_at": f"{self._time()} + {SECOND}",
            },
            where="i % 4 = 0",
        )


def _text(value: object) -> str:
    """As JSON, its colons kept from being read as parameters."""
    return json.dumps(value, separators=(",", ":")).replace(":", "\\:")


def _opened(facts: dict[str, str]) -> str:
    return _text(facts)[:-1] + ","
