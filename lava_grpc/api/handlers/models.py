"""ModelService: public, so that who calls may be nobody."""

from __future__ import annotations

import asyncio

from lava.v1 import model_service_pb2 as pb

from lava_grpc.api.dispatch import Handlers
from lava_grpc.api.messages import models
from lava_grpc.api.messages.texts import optional_text
from lava_grpc.gateway.offers import Catalogue, Catalogues, allowed
from lava_grpc.gateway.principal import Principal


class ModelHandlers:
    """The catalogue. Answers are made once for each catalogue and never changed."""

    def __init__(self, catalogues: Catalogues) -> None:
        self._catalogues = catalogues
        self._of: Catalogue | None = None
        self._models: pb.ListModelsResponse | None = None
        self._services: dict[str | None, pb.ListServicesResponse] = {}

    def table(self) -> Handlers:
        """By full method name."""
        service = "lava.v1.ModelService"
        return {
            f"{service}/ListModels": self.list_models,
            f"{service}/ListServices": self.list_services,
        }

    async def list_models(
        self, _request: pb.ListModelsRequest, principal: Principal, _deadline: float | None
    ) -> pb.ListModelsResponse:
        """All models by name; to a spend key, those that it is for."""
        catalogue = await self._current()
        if principal.spend_key is not None:
            return models.from_models(allowed(catalogue.offers, principal.spend_key))
        if self._models is None:
            self._models = models.from_models(catalogue.offers)
        return self._models

    async def list_services(
        self, request: pb.ListServicesRequest, _principal: Principal, _deadline: float | None
    ) -> pb.ListServicesResponse:
        """All offers, or one provider's; an unknown provider has none."""
        provider = optional_text(request, "provider")
        catalogue = await self._current()
        made = self._services.get(provider)
        if made is None:
            made = await asyncio.to_thread(models.from_catalogue, catalogue, provider)
            # Whoever makes up names of providers fills no memory.
            known = provider is None or any(provider == p.id for p in catalogue.providers)
            if known and catalogue is self._of:
                self._services[provider] = made
        return made

    async def _current(self) -> Catalogue:
        catalogue = await self._catalogues.current()
        if catalogue is not self._of:
            self._of, self._models = catalogue, None
            self._services.clear()
        return catalogue
