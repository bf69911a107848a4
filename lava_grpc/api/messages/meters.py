"""Meters and their tiers."""

from __future__ import annotations

from collections.abc import Iterable

from lava.v1 import meter_pb2
from lava.v1 import meter_service_pb2 as pb

from lava_grpc.api.messages.enums import BASES, RATE_TYPES, TIER_TYPES, read_enum
from lava_grpc.api.messages.times import to_timestamp
from lava_grpc.core.errors import invalid
from lava_grpc.core.money import format_amount
from lava_grpc.core.pricing import Basis
from lava_grpc.core.resources import NamedMeter
from lava_grpc.gateway.meters import NewMeter, TierText

_CHANGEABLE = ("name", "tiers")


def to_meter(request: pb.CreateMeterRequest) -> NewMeter:
    """A meter as it is described."""
    return NewMeter(
        name=request.name,
        slug=request.meter_slug if request.HasField("meter_slug") else None,
        rate_type=read_enum(RATE_TYPES, request.rate_type, "rate_type"),
        tier_type=read_enum(TIER_TYPES, request.tier_type, "tier_type"),
        basis=read_enum(BASES, request.basis, "basis") or Basis.BOTH,
        tiers=_to_tiers(request.tiers),
    )


def to_changes(request: pb.UpdateMeterRequest) -> tuple[str | None, list[TierText] | None]:
    """The new name and tiers; None for one that stays as it is."""
    mask = request.update_mask.paths
    for name in mask:
        if name not in _CHANGEABLE:
            raise invalid("update_mask", f"names '{name[:80]}', which cannot be changed")
    named = "name" in mask or (not mask and request.HasField("name"))
    tiered = "tiers" in mask or (not mask and bool(request.tiers))
    return request.name if named else None, _to_tiers(request.tiers) if tiered else None


def _to_tiers(tiers: Iterable[meter_pb2.MeterTierInput]) -> list[TierText]:
    return [TierText(tier.start, tier.rate) for tier in tiers]


def from_meter(named: NamedMeter) -> meter_pb2.Meter:
    """The meter as its merchant sees it."""
    meter = named.meter
    kind = TIER_TYPES[meter.tier_type]
    return meter_pb2.Meter(
        meter_id=meter.meter_id,
        meter_slug=meter.slug,
        name=named.name,
        rate_type=RATE_TYPES[meter.rate_type],
        tiers=[
            meter_pb2.MeterTier(start=tier.start, rate=format_amount(tier.rate), type=kind)
            for tier in meter.tiers
        ],
        created_at=to_timestamp(named.created_at),
        basis=BASES[meter.basis],
    )
