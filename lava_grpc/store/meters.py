"""Statements for meters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, insert, select, update

from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.page import Page, Slice
from lava_grpc.core.pricing import Basis, Meter, RateType, Tier, TierType
from lava_grpc.core.resources import NamedMeter
from lava_grpc.core.time import Instant
from lava_grpc.store import schema
from lava_grpc.store.cursors import newest_first

_meters = schema.meters.c

_METER = (
    _meters.merchant_id,
    _meters.meter_id,
    _meters.slug,
    _meters.rate_type,
    _meters.tier_type,
    _meters.basis,
    _meters.tiers,
    _meters.name,
    _meters.created_at,
)


def add(connection: Connection, named: NamedMeter) -> None:
    """Store a meter. Refuses ALREADY_EXISTS (field `meter_slug`) for a taken slug."""
    meter = named.meter
    if _first(connection, meter.merchant_id, _meters.slug == meter.slug) is not None:
        raise Refusal(
            Reason.ALREADY_EXISTS,
            f"another meter has the slug '{meter.slug[:80]}'",
            field="meter_slug",
        )
    connection.execute(
        insert(schema.meters).values(
            merchant_id=meter.merchant_id,
            meter_id=meter.meter_id,
            slug=meter.slug,
            name=named.name,
            rate_type=meter.rate_type.value,
            tier_type=meter.tier_type.value,
            basis=meter.basis.value,
            tiers=[[tier.start, tier.rate] for tier in meter.tiers],
            created_at=named.created_at,
        )
    )


def find(connection: Connection, merchant_id: str, ident: str) -> NamedMeter | None:
    """The meter with this id or slug; an id goes before a slug that looks like it."""
    by_id = _first(connection, merchant_id, _meters.meter_id == ident)
    return by_id or _first(connection, merchant_id, _meters.slug == ident)


def list_page(connection: Connection, merchant_id: str, page: Page) -> Slice[NamedMeter]:
    """Meters, newest first."""
    query = select(*_METER).where(_meters.deleted_at.is_(None))
    mine = _meters.merchant_id == merchant_id
    rows, cursor = newest_first(connection, query, _meters.meter_id, page, mine)
    return Slice([_meter_of(row) for row in rows], cursor)


def change(
    connection: Connection,
    merchant_id: str,
    ident: str,
    *,
    name: str | None,
    tiers: Sequence[tuple[int, int]] | None,
) -> NamedMeter | None:
    """Set the name, the tiers, or both; None leaves one as it is."""
    found = find(connection, merchant_id, ident)
    if found is None:
        return None
    values: dict[str, object] = {}
    if name is not None:
        values["name"] = name
    if tiers is not None:
        values["tiers"] = [list(tier) for tier in tiers]
    if values:
        _update(connection, found.meter, values)
    return _first(connection, merchant_id, _meters.meter_id == found.meter.meter_id)


def delete(connection: Connection, merchant_id: str, ident: str, at: Instant) -> str | None:
    """Delete a meter; its id, None where there is none."""
    found = find(connection, merchant_id, ident)
    if found is None or not _update(connection, found.meter, {"deleted_at": at}):
        return None
    return found.meter.meter_id


def _update(connection: Connection, meter: Meter, values: dict[str, object]) -> bool:
    done = connection.execute(
        update(schema.meters)
        .where(
            _meters.merchant_id == meter.merchant_id,
            _meters.meter_id == meter.meter_id,
            _meters.deleted_at.is_(None),
        )
        .values(values)
    )
    return done.rowcount == 1


def _first(
    connection: Connection, merchant_id: str, condition: ColumnElement[bool]
) -> NamedMeter | None:
    query = select(*_METER).where(
        _meters.merchant_id == merchant_id, _meters.deleted_at.is_(None), condition
    )
    row = connection.execute(query).first()
    return _meter_of(row) if row else None


def _meter_of(row: Sequence[Any]) -> NamedMeter:
    merchant_id, meter_id, slug, rate_type, tier_type, basis, tiers, name, created_at = row
    meter = Meter(
        merchant_id,
        meter_id,
        slug,
        RateType(rate_type),
        TierType(tier_type),
        Basis(basis),
        tuple([Tier(start, rate) for start, rate in tiers]),
    )
    return NamedMeter(meter, name, created_at)
