"""ProviderKeyService."""

from __future__ import annotations

from lava.v1 import provider_key_service_pb2 as pb

from lava_grpc.api.dispatch import Handlers
from lava_grpc.api.messages import pages, provider_keys
from lava_grpc.gateway.principal import Principal
from lava_grpc.gateway.provider_keys import ProviderKeys


class ProviderKeyHandlers:
    """The merchant's stored provider keys."""

    def __init__(self, use_case: ProviderKeys) -> None:
        self._keys = use_case

    def table(self) -> Handlers:
        """By full method name."""
        service = "lava.v1.ProviderKeyService"
        return {
            f"{service}/CreateProviderKey": self.create,
            f"{service}/ListProviderKeys": self.list,
            f"{service}/GetProviderKey": self.get,
            f"{service}/UpdateProviderKey": self.update,
            f"{service}/RotateProviderKey": self.rotate,
            f"{service}/DeleteProviderKey": self.delete,
        }

    async def create(
        self, request: pb.CreateProviderKeyRequest, principal: Principal, _deadline: float | None
    ) -> pb.CreateProviderKeyResponse:
        """Store a key."""
        key = await self._keys.create(principal, provider_keys.to_new(request))
        return pb.CreateProviderKeyResponse(provider_key=provider_keys.from_key(key))

    async def list(
        self, request: pb.ListProviderKeysRequest, principal: Principal, _deadline: float | None
    ) -> pb.ListProviderKeysResponse:
        """A page of keys."""
        found = await self._keys.list(principal, pages.to_page(request))
        return pb.ListProviderKeysResponse(
            data=[provider_keys.from_key(key) for key in found.items],
            has_more=pages.has_more(found),
            next_cursor=found.next_cursor,
        )

    async def get(
        self, request: pb.GetProviderKeyRequest, principal: Principal, _deadline: float | None
    ) -> pb.GetProviderKeyResponse:
        """One key."""
        key = await self._keys.get(principal, request.provider_key_id)
        return pb.GetProviderKeyResponse(provider_key=provider_keys.from_key(key))

    async def update(
        self, request: pb.UpdateProviderKeyRequest, principal: Principal, _deadline: float | None
    ) -> pb.UpdateProviderKeyResponse:
        """Change a key."""
        changes = provider_keys.to_changes(request)
        key = await self._keys.update(principal, request.provider_key_id, changes)
        return pb.UpdateProviderKeyResponse(provider_key=provider_keys.from_key(key))

    async def rotate(
        self, request: pb.RotateProviderKeyRequest, principal: Principal, _deadline: float | None
    ) -> pb.RotateProviderKeyResponse:
        """Replace a key's secret."""
        key = await self._keys.rotate(principal, request.provider_key_id, request.key)
        return pb.RotateProviderKeyResponse(provider_key=provider_keys.from_key(key))

    async def delete(
        self, request: pb.DeleteProviderKeyRequest, principal: Principal, _deadline: float | None
    ) -> pb.DeleteProviderKeyResponse:
        """Delete a key and its secret."""
        await self._keys.delete(principal, request.provider_key_id)
        return pb.DeleteProviderKeyResponse(id=request.provider_key_id, deleted=True)
