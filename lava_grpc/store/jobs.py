"""Work that goes on at providers. See `gateway.ports.JobStore`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from lava_grpc.core.jobs import Job
from lava_grpc.core.pricing import Basis, Meter, RateType, Tier, TierType
from lava_grpc.core.time import SECOND, Instant
from lava_grpc.core.usage import Usage
from lava_grpc.store import schema
from lava_grpc.store.database import Database

KEPT_SECONDS = 30 * 86_400
"""How long a job is remembered that nobody asks after: as long as any provider keeps results."""

SWEPT_MAX = 100
"""How many overdue jobs, whoever's, each new one takes away: more than come in, so none stay."""

_rows = schema.jobs.c
_JOB = (
    _rows.merchant_id,
    _rows.provider,
    _rows.job_id,
    _rows.request_id,
    _rows.hold_id,
    _rows.created_at,
    _rows.call,
)


class StoreJobs:
    """One row for each job at each provider."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, job: Job, now: Instant) -> None:
        """Remember a job; the first word on it counts."""
        overdue = now - KEPT_SECONDS * SECOND

        def work(connection: Connection) -> None:
            _sweep(connection, overdue)
            # Two at once meet in the primary key: the later one is run again, and finds it.
            if _find(connection, job.merchant_id, job.provider, job.job_id) is None:
                connection.execute(insert(schema.jobs).values(_values(job)))

        await self._database.write(work)

    async def find(self, merchant_id: str, provider: str, job_id: str) -> Job | None:
        """The job, as long as it is not settled; one of a spend key's after that too."""
        return await self._database.read(
            lambda connection: _find(connection, merchant_id, provider, job_id)
        )

    async def forget(self, job: Job) -> None:
        """The job is settled, or never will be. One of a spend key's is kept as ended."""
        this = (
            _rows.merchant_id == job.merchant_id,
            _rows.provider == job.provider,
            _rows.job_id == job.job_id,
        )
        change = (
            delete(schema.jobs).where(*this)
            if job.spend_key_id is None
            else update(schema.jobs).where(*this).values(call=_call(replace(job, ended=True)))
        )
        await self._database.write(lambda connection: connection.execute(change))


def _sweep(connection: Connection, overdue: Instant) -> None:
    old = connection.execute(
        select(_rows.merchant_id, _rows.provider, _rows.job_id)
        .where(_rows.created_at <= overdue)
        .limit(SWEPT_MAX)
    ).all()
    for merchant_id, provider, job_id in old:
        connection.execute(
            delete(schema.jobs).where(
                _rows.merchant_id == merchant_id,
                _rows.provider == provider,
                _rows.job_id == job_id,
            )
        )


def _find(connection: Connection, merchant_id: str, provider: str, job_id: str) -> Job | None:
    row = connection.execute(
        select(*_JOB).where(
            _rows.merchant_id == merchant_id,
            _rows.provider == provider,
            _rows.job_id == job_id,
        )
    ).first()
    return _job_of(row) if row else None


def _values(job: Job) -> dict[str, object]:
    return {
        "merchant_id": job.merchant_id,
        "provider": job.provider,
        "job_id": job.job_id,
        "request_id": job.request_id,
        "hold_id": job.hold_id,
        "created_at": job.created_at,
        "call": _call(job),
    }


def _call(job: Job) -> str:
    call: dict[str, object] = {
        "flavor": job.flavor,
        "endpoint": job.endpoint,
        "model": job.model,
        "price_provider": job.price_provider,
        "usage": job.usage.as_dict(),
        "meter": _meter_document(job.meter) if job.meter else None,
    }
    if job.spend_key_id is not None:
        call |= {"spend_key_id": job.spend_key_id, "ended": job.ended}
    return json.dumps(call)


def _job_of(row: Sequence[Any]) -> Job:
    merchant_id, provider, job_id, request_id, hold_id, created_at, raw = row
    call = json.loads(raw)
    return Job(
        merchant_id=merchant_id,
        provider=provider,
        job_id=job_id,
        request_id=request_id,
        hold_id=hold_id,
        created_at=created_at,
        flavor=call["flavor"],
        endpoint=call["endpoint"],
        model=call["model"],
        price_provider=call["price_provider"],
        usage=Usage.from_dict(call["usage"]),
        meter=_meter_of(merchant_id, call["meter"]) if call["meter"] else None,
        spend_key_id=call.get("spend_key_id"),
        ended=call.get("ended", False),
    )


def _meter_document(meter: Meter) -> dict[str, object]:
    return {
        "meter_id": meter.meter_id,
        "slug": meter.slug,
        "rate_type": meter.rate_type.value,
        "tier_type": meter.tier_type.value,
        "basis": meter.basis.value,
        "tiers": [[tier.start, tier.rate] for tier in meter.tiers],
    }


def _meter_of(merchant_id: str, document: dict[str, Any]) -> Meter:
    return Meter(
        merchant_id,
        document["meter_id"],
        document["slug"],
        RateType(document["rate_type"]),
        TierType(document["tier_type"]),
        Basis(document["basis"]),
        tuple(Tier(start, rate) for start, rate in document["tiers"]),
    )
