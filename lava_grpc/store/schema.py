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
    LargeBinary,
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
    # upper_bound or expected; NULL leaves it to the service.
    Column("hold_policy", Text),
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
    # The running cycle of the customer's active subscription; NULL without one.
    Column("cycle_start", BigInteger),
    Column("cycle_end", BigInteger),
    # `credit_limit` is the plan's, and the customer's own is kept here until the plan is left.
    Column("plan_limited", Boolean, nullable=False, server_default=false()),
    Column("own_limit", BigInteger),
    # With less credit than this left, auto top-up buys; NULL: it buys nothing.
    Column("low_mark", BigInteger),
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
    # What the call is: customer, meter, provider, model, metadata; what a partial hold buys.
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
    # For lists of requests, which have the pending ones among them.
    Index(
        "holds_active_by_time",
        "merchant_id",
        "created_at",
        "request_id",
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
    Column("service_tier", Text),
    Index("requests_by_time", "merchant_id", "created_at", "request_id"),
    Index("requests_by_customer", "merchant_id", "customer_id", "created_at", "request_id"),
    Index(
        "requests_by_meter",
        "merchant_id",
        "meter_id",
        "created_at",
        "request_id",
        sqlite_where=text("meter_id IS NOT NULL"),
        postgresql_where=text("meter_id IS NOT NULL"),
    ),
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

spend_keys = Table(
    "spend_keys",
    metadata,
    Column("merchant_id", Text, primary_key=True),
    Column("spend_key_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("preview", Text, nullable=False),
    # SHA-256 of the key, hex, as for secret keys.
    Column("key_hash", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("request_shape", Text, nullable=False),
    # JSON arrays; NULL: all.
    Column("allowed_models", Text),
    Column("allowed_providers", Text),
    Column("expires_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    Index("spend_keys_by_hash", "key_hash", unique=True),
    sqlite_with_rowid=False,
)

# What a spend key may spend, and how far that is used up. The limits are written with the
# key, all else by the ledger, under the lock on the key's account.
budgets = Table(
    "budgets",
    metadata,
    Column("merchant_id", Text, primary_key=True),
    Column("account_id", Text, primary_key=True),
    Column("spend_amount", BigInteger),
    Column("spend_cycle", Text),
    Column("request_count", BigInteger),
    Column("request_cycle", Text),
    Column("rate_rpm", BigInteger),
    Column("rate_burst", BigInteger),
    # The spend limit was changed once: what was taken under another may exceed it.
    Column("limit_changed", Boolean, nullable=False, server_default=false()),
    Column("spent_day", BigInteger, nullable=False, server_default="0"),
    Column("spent_week", BigInteger, nullable=False, server_default="0"),
    Column("spent_month", BigInteger, nullable=False, server_default="0"),
    Column("counted_day", BigInteger, nullable=False, server_default="0"),
    Column("counted_week", BigInteger, nullable=False, server_default="0"),
    Column("counted_month", BigInteger, nullable=False, server_default="0"),
    Column("requests", BigInteger, nullable=False, server_default="0"),
    Column("rolled_at", BigInteger, nullable=False, server_default="0"),
    Column("paced_until", BigInteger, nullable=False, server_default="0"),
    Column("last_used_at", BigInteger),
    # How many of its calls' holds were removed for their age.
    Column("holds_pruned", BigInteger, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
    postgresql_with={"fillfactor": "50"},
)

# Calls that carried an `Idempotency-Key`, and what they answered.
idempotency = Table(
    "idempotency",
    metadata,
    Column("merchant_id", Text, primary_key=True),
    Column("idempotency_key", Text, primary_key=True),
    Column("method", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    # running, done, secret (done; the answer held a secret and is not kept), unknown.
    Column("state", Text, nullable=False),
    Column("answer", LargeBinary),
    Column("created_at", BigInteger, nullable=False),
    Index("idempotency_by_time", "merchant_id", "created_at"),
    sqlite_with_rowid=False,
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("merchant_id", Text, primary_key=True),
    Column("webhook_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("url", Text, nullable=False),
    # In full, since deliveries are signed with it.
    Column("secret", Text, nullable=False),
    # NULL: never told of a low balance.
    Column("low_balance", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# The outbox: written in the transaction of what it tells of.
webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("merchant_id", Text, primary_key=True),
    Column("webhook_id", Text, primary_key=True),
    # Grows with time: a customer's deliveries go out in this order.
    Column("delivery_id", Text, primary_key=True),
    Column("customer_id", Text),
    Column("event", Text, nullable=False),
    # A JSON object: the balance, the request, the grant that it is about.
    Column("details", Text, nullable=False),
    # What is sent, from the first attempt on.
    Column("body", Text),
    Column("state", Text, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    # When it is to be sent, or is free again if who took it dies; NULL once it has ended.
    Column("due_at", BigInteger),
    Column("response_status", BigInteger),
    Column("error", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Index(
        "webhook_deliveries_due",
        "due_at",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
    Index(
        "webhook_deliveries_waiting",
        "merchant_id",
        "webhook_id",
        "customer_id",
        "delivery_id",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
    Index(
        "webhook_deliveries_ended",
        "ended_at",
        sqlite_where=text("ended_at IS NOT NULL"),
        postgresql_where=text("ended_at IS NOT NULL"),
    ),
    sqlite_with_rowid=False,
)

plans = Table(
    "plans",
    metadata,
    Column("merchant_id", Text, primary_key=True),
    Column("plan_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("period_amount", BigInteger, nullable=False),
    Column("included_credit", BigInteger, nullable=False),
    Column("billing_interval", Text, nullable=False),
    Column("rollover_type", Text, nullable=False),
    Column("bundle_rollover_type", Text, nullable=False),
    # A JSON array; NULL: any meter.
    Column("meter_ids", Text),
    Column("default_bundle_id", Text),
    # NULL: the customer's own credit limit counts.
    Column("overage_limit", BigInteger),
    Column("is_default", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
    Column("auto_top_up_threshold", BigInteger),
    Index(
        "plans_default",
        "merchant_id",
        unique=True,
        sqlite_where=text("is_default"),
        postgresql_where=text("is_default"),
    ),
    sqlite_with_rowid=False,
)

credit_bundles = Table(
    "credit_bundles",
    metadata,
    Column("merchant_id", Text, primary_key=True),
    Column("credit_bundle_id", Text, primary_key=True),
    Column("plan_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("cost", BigInteger, nullable=False),
    Column("credit_amount", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
    Index("credit_bundles_by_plan", "merchant_id", "plan_id", "credit_bundle_id"),
    sqlite_with_rowid=False,
)

# Written by the ledger alone, under the lock on the customer's account.
subscriptions = Table(
    "subscriptions",
    metadata,
    Column("merchant_id", Text, primary_key=True),
    Column("subscription_id", Text, primary_key=True),
    Column("customer_id", Text, nullable=False),
    Column("plan_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("auto_top_up_bundle_id", Text),
    Column("anchor", BigInteger, nullable=False),
    Column("anchor_cycle", BigInteger, nullable=False),
    Column("cycle", BigInteger, nullable=False),
    Column("cycle_start", BigInteger, nullable=False),
    Column("cycle_end", BigInteger, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("cancelled_at", BigInteger),
    # What happens at the cycle's end, where it is not just the next one.
    Column("pending", Text),
    Column("pending_plan_id", Text),
    # NULL: none left.
    Column("auto_top_up_threshold", BigInteger),
    # Who is asked for its price and overage; NULL: nobody.
    Column("payment_provider", Text),
    Column("payment_method_id", Text),
    # The last payment for it, and whether that is still to succeed.
    Column("payment_id", Text),
    Column("unpaid", Boolean, nullable=False, server_default=false()),
    Index(
        "subscriptions_active",
        "merchant_id",
        "customer_id",
        unique=True,
        sqlite_where=text("status = 'active'"),
        postgresql_where=text("status = 'active'"),
    ),
    Index("subscriptions_by_customer", "merchant_id", "customer_id", "subscription_id"),
    # The sweeper's: cycles that are over.
    Index(
        "subscriptions_due",
        "cycle_end",
        sqlite_where=text("status = 'active'"),
        postgresql_where=text("status = 'active'"),
    ),
    sqlite_with_rowid=False,
)

# Money that a payment provider was asked for. The row comes first, then the question;
# the credit that it buys is a grant whose request id is the payment's.
payments = Table(
    "payments",
    metadata,
    Column("merchant_id", Text, primary_key=True),
    Column("payment_id", Text, primary_key=True),
    # Whose account gets the credit: a customer's, or the merchant's wallet.
    Column("account_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("payment_method_id", Text),
    Column("credit_bundle_id", Text),
    Column("amount", BigInteger, nullable=False),
    Column("credit_amount", BigInteger, nullable=False),
    # open, paid, succeeded, declined
    Column("state", Text, nullable=False),
    # Why it was declined.
    Column("reason", Text),
    Column("attempts", BigInteger, nullable=False),
    # When the provider is asked again; NULL once it has ended.
    Column("due_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    # The plan that it pays for.
    Column("plan_id", Text),
    # The caller's own id for it, and a digest of what was asked for.
    Column("request_id", Text),
    Column("fingerprint", Text),
    # How often the provider refused, and was to be asked again.
    Column("declines", BigInteger, nullable=False, server_default="0"),
    Index(
        "payments_by_request",
        "merchant_id",
        "request_id",
        unique=True,
        sqlite_where=text("request_id IS NOT NULL"),
        postgresql_where=text("request_id IS NOT NULL"),
    ),
    # One plan at a time.
    Index(
        "payments_beginning",
        "merchant_id",
        "account_id",
        unique=True,
        sqlite_where=text("ended_at IS NULL AND kind = 'subscription'"),
        postgresql_where=text("ended_at IS NULL AND kind = 'subscription'"),
    ),
    # One purchase at a time, however many calls find the account empty.
    Index(
        "payments_open",
        "merchant_id",
        "account_id",
        unique=True,
        sqlite_where=text("ended_at IS NULL AND kind = 'auto_top_up'"),
        postgresql_where=text("ended_at IS NULL AND kind = 'auto_top_up'"),
    ),
    Index(
        "payments_due",
        "due_at",
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
    Index("payments_by_account", "merchant_id", "account_id", "payment_id"),
    sqlite_with_rowid=False,
)

# A row for each label of each record, so that the records with a rare one are found without
# reading the others. Written with the record; calls without labels have none.
request_labels = Table(
    "request_labels",
    metadata,
    Column("merchant_id", Text, primary_key=True),
    # The name, an equals sign, and the value.
    Column("label", Text, primary_key=True),
    # The record's own, for its place in lists.
    Column("created_at", BigInteger, primary_key=True),
    Column("request_id", Text, primary_key=True),
    sqlite_with_rowid=False,
)

# Up to when a merchant's holds may be gone: those that were placed before, and have ended.
retention = Table(
    "retention",
    metadata,
    Column("merchant_id", Text, primary_key=True),
    Column("holds_before", BigInteger, nullable=False),
)

# Merchants' own provider keys. A deleted key's row is gone, and its secret with it.
provider_keys = Table(
    "provider_keys",
    metadata,
    Column("merchant_id", Text, primary_key=True),
    Column("provider_key_id", Text, primary_key=True),
    # A provider's id, or one host.
    Column("provider", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("preview", Text, nullable=False),
    Column("weight", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    # The secret, encrypted, and the name of the key that it is encrypted with.
    Column("sealed", Text, nullable=False),
    Column("sealed_with", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("rotated_at", BigInteger),
    Column("last_used_at", BigInteger),
    sqlite_with_rowid=False,
)

# Work that goes on at providers after the answer, and the request that pays for it. A row goes
# once the work is settled, or after a month.
jobs = Table(
    "jobs",
    metadata,
    Column("merchant_id", Text, primary_key=True),
    Column("provider", Text, primary_key=True),
    # The provider's own id.
    Column("job_id", Text, primary_key=True),
    Column("request_id", Text, nullable=False),
    Column("hold_id", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    # JSON: what the call was, and the meter that prices it.
    Column("call", Text, nullable=False),
    Index("jobs_by_age", "created_at"),
    sqlite_with_rowid=False,
)
