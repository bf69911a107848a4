"""The public catalogue. Prices become floats here, to be shown; nothing is charged by them."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from google.protobuf.struct_pb2 import Struct
from lava.v1 import model_service_pb2 as pb

from lava_grpc.gateway.offers import Catalogue
from lava_grpc.providers.offers import API_REFERENCES, Offer
from lava_grpc.providers.provider import Provider
from lava_grpc.providers.rates import MILLION, Rate

_SERVICE_TYPE = "model"


def from_models(offers: Iterable[Offer]) -> pb.ListModelsResponse:
    """Each model's name once, owned by the first provider that offers it."""
    owners: dict[str, str] = {}
    for offer in offers:
        owners.setdefault(offer.model, offer.provider.id)
    return pb.ListModelsResponse(
        object="list",
        data=[
            pb.Model(id=model, object="model", created=0, owned_by=owner)
            for model, owner in owners.items()
        ],
    )


def from_catalogue(catalogue: Catalogue, provider_id: str | None) -> pb.ListServicesResponse:
    """The offers, of one provider or of all, and all providers."""
    counts = dict.fromkeys((provider.id for provider in catalogue.providers), 0)
    for offer in catalogue.offers:
        counts[offer.provider.id] += 1
    return pb.ListServicesResponse(
        data=[
            _entry(offer, managed=offer.provider.id in catalogue.managed)
            for offer in catalogue.offers
            if provider_id in (None, offer.provider.id)
        ],
        providers=[
            _provider(provider, counts[provider.id], managed=provider.id in catalogue.managed)
            for provider in catalogue.providers
        ],
    )


def _entry(offer: Offer, *, managed: bool) -> pb.CatalogueEntry:
    provider = offer.provider
    entry = pb.CatalogueEntry(
        id=f"{provider.id}/{offer.model}",
        object="service",
        provider=provider.id,
        provider_label=provider.label,
        api_reference=API_REFERENCES.get(provider.id, ""),
        endpoint=offer.endpoint,
        method="POST",
        url_template=f"/v1/forward?u={quote(offer.endpoint, safe='')}",
        workflow=pb.CatalogueWorkflow(kind="sync"),
        service_type=_SERVICE_TYPE,
        managed=managed,
        pricing=_pricing(offer),
        capabilities=offer.capabilities,
    )
    if offer.example:
        example = Struct()
        example.update(offer.example)
        entry.example_body.CopyFrom(example)
    return entry


def _pricing(offer: Offer) -> pb.CataloguePricing:
    rates = offer.rates
    pricing = pb.CataloguePricing(
        type="tokens_1m",
        input=_shown(rates.input),
        output=_shown(rates.output),
        cache_input_read=_shown(rates.cache_read),
        cache_input_write=_shown(rates.cache_write),
        cost_per_request=_shown(rates.request, 1),
        text=pb.CatalogueRates(input=_shown(rates.input), output=_shown(rates.output)),
    )
    for kind in ("audio", "image"):
        if offer.priced_apart(kind):
            apart: pb.CatalogueRates = getattr(pricing, kind)
            apart.input = _shown(getattr(rates, f"input_{kind}"))
            apart.output = _shown(getattr(rates, f"output_{kind}"))
    return pricing


def _shown(rate: Rate, per: int = MILLION) -> float:
    return float(rate.price(per))


def _provider(provider: Provider, count: int, *, managed: bool) -> pb.CatalogueProvider:
    return pb.CatalogueProvider(
        id=provider.id,
        label=provider.label,
        api_reference=API_REFERENCES.get(provider.id, ""),
        service_type=_SERVICE_TYPE,
        managed=managed,
        entry_count=count,
    )
