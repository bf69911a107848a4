"""The tables.

Every table of the hot path leads its primary key with the merchant, which is
the partition key of the merchant's accounts: a batch's statements for one
account touch rows of one partition. Amounts are whole 10^-10 units, instants
microseconds since 1970, ids text.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Index,
    MetaData,
    Table,
    Text,
    false,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

# JSON documents that are asked about; SQLite keeps them as text.
_Document = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")

merchants = Table(
    "merchants",
    metadata,
    Column("merchant_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("test_mode", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

secret_keys = Table(
    "secret_keys",
    metadata,
    Column("merchant_id", Text, primary_key=True),
    Column("secret_key_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("hint", Text, nullable=False),
    # SHA-256 of the key, hex. The key has 256 random bits, so no salt is needed.
    Column("key_hash", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    # Looked up before the merchant is known: the one index that does not lead with it.
    Index("secret_keys_by_hash", "key_hash", unique=True),
    sqlite_with_rowid=False,
)

customers = Table(
    "customers",
    metadata,
    Column("merchant_id", Text, primary_key=True),
    Column("customer_id", Text, primary_key=True),
    Column("reference_id", Text),
    Column("name", Text),
    Column("email", Text),
    Column("phone", Text),
    Column("metadata", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
    Index(
        "customers_by_reference",
        "merchant_id",
        "reference_id",
        unique=True,
        sqlite_where=text("deleted_at IS NULL"),
        postgresql_where=text("deleted_at IS NULL"),
    ),
    sqlite_with_rowid=False,
)

meters = Table(
    "meters",
    metadata,
    Column("merchant_id", Text, primary_key=True),
    Column("meter_id", Text, primary_key=True),
    Column("slug", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("rate_type", Text, nullable=False),
    Column("tier_type", Text, nullable=False),
    Column("basis", Text, nullable=False),
    # A list of pairs: start, and rate in 10^-10.
    Column("tiers", JSON, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
    Index(
        "meters_by_slug",
        "merchant_id",
        "slug",
        unique=True,
        sqlite_where=text("deleted_at IS NULL"),
        postgresql_where=text("deleted_at IS NULL"),
    ),
    sqlite_with_rowid=False,
)

accounts = Table(
    "accounts",
    metadata,
    Column("merchant_id", Text, primary_key=True),
    Column("account_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("balance", BigInteger, nullable=False, server_default="0"),
    Column("held", BigInteger, nullable=False, server_default="0"),
    # NULL: unlimited.
    Column("credit_limit", BigInteger, server_default="0"),
    # The limit was lowered once: what was taken under a higher one may then exceed it.
    Column("limit_lowered", Boolean, nullable=False, server_default=false()),
    Column("closed", Boolean, nullable=False, server_default=false()),
    sqlite_with_rowid=False,
    # Room on each page lets PostgreSQL update a hot account in place.
    postgresql_with={"fillfactor": "50"},
)

grants = Table(
    "grants",
    metadata,
    Column("merchant_id", Text, primary_key=True),
    Column("grant_id", Text, primary_key=True),
    Column("account_id", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("priority", BigInteger, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("remaining", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("burned", BigInteger, nullable=False),
    Column("expired", BigInteger, nullable=False),
    # A JSON array; NULL: any meter.
    Column("meter_ids", Text),
    Column("expires_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    # remaining > 0 or held > 0. A column of its own, so that an index on it does not
    # change with every hold.
    Column("live", Boolean, nullable=False, server_default=true()),
    Index("grants_by_request", "merchant_id", "request_id", unique=True),
    Index("grants_by_account", "merchant_id", "account_id", "grant_id"),
    Index(
        "grants_live",
        "merchant_id",
        "account_id",
        sqlite_where=text("live"),
        postgresql_where=text("live"),
    ),
    # The sweeper's: overdue grants that still have something to expire.
    Index(
        "grants_expiring",
        "expires_at",
        sqlite_where=text("live AND expires_at IS NOT NULL"),
        postgresql_where=text("live AND expires_at IS NOT NULL"),
    ),
    sqlite_with_rowid=False,
    postgresql_with={"fillfactor": "50"},
)

holds = Table(
    "holds",
    metadata,
    Column("merchant_id", Text, primary_key=True),
    Column("hold_id", Text, primary_key=True),
    Column("request_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    # The accounts that it touches, by role.
    Column("charge_account_id", Text),
    Column("cost_account_id", Text),
    Column("budget_account_id", Text),
    # A JSON list of triples: role, grant id or null, amount.
    Column("legs", Text, nullable=False),
    # What the call is: customer, meter, provider, model, metadata.
    Column("facts", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("fingerprint", Text, nullable=False),
    Index("holds_by_request", "merchant_id", "request_id", unique=True),
    Index(
        "holds_active",
        "expires_at",
        sqlite_where=text("state = 'active'"),
        postgresql_where=text("state = 'active'"),
    ),
    sqlite_with_rowid=False,
    postgresql_with={"fillfactor": "80"},
)

requests = Table(
    "requests",
    metadata,
    Column("merchant_id", Text, primary_key=True),
    Column("request_id", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("customer_id", Text),
    Column("meter_id", Text),
    Column("provider", Text, nullable=False),
    Column("key_type", Text, nullable=False),
    Column("model", Text),
    Column("endpoint", Text, nullable=False),
    Column("response_id", Text),
    # The non-zero counts of core.usage.Usage by name.
    Column("usage", Text, nullable=False),
    Column("total_tokens", BigInteger, nullable=False),
    Column("input_cost", BigInteger, nullable=False),
    Column("output_cost", BigInteger, nullable=False),
    Column("cost", BigInteger, nullable=False),
    Column("charge", BigInteger, nullable=False),
    # [rate type, [[tier start, rate, tier type, units, amount], ...]]; NULL: no meter.
    Column("charge_lines", Text),
    # Space-separated.
    Column("flags", Text, nullable=False),
    Column("hold_id", Text),
    Column("held", BigInteger),
    Column("metadata", _Document, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("fingerprint", Text, nullable=False),
    Index("requests_by_time", "merchant_id", "created_at", "request_id"),
    Index("requests_by_customer", "merchant_id", "customer_id", "created_at", "request_id"),
    sqlite_with_rowid=False,
)

entries = Table(
    "entries",
    metadata,
    Column("merchant_id", Text, primary_key=True),
    Column("entry_id", Text, primary_key=True),
    # The one account of ours that it touches: its debit or its credit side, or both.
    Column("account_id", Text, nullable=False),
    Column("debit", Text, nullable=False),
    Column("credit", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("request_id", Text),
    Column("hold_id", Text),
    Column("grant_id", Text),
    Column("created_at", BigInteger, nullable=False),
    Index("entries_by_account", "merchant_id", "account_id", "entry_id"),
    Index("entries_by_request", "merchant_id", "request_id"),
    sqlite_with_rowid=False,
)

counters = Table(
    "tier_counters",
    metadata,
    Column("merchant_id", Text, primary_key=True),
    Column("customer_id", Text, primary_key=True),
    Column("meter_id", Text, primary_key=True),
    Column("cycle_start", BigInteger, primary_key=True),
    Column("units", BigInteger, nullable=False),
    sqlite_with_rowid=False,
    postgresql_with={"fillfactor": "50"},
)
