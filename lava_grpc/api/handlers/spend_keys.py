"""SpendKeyService."""

from __future__ import annotations

from collections.abc import Callable

from lava.v1 import spend_key_service_pb2 as pb

from lava_grpc.api.dispatch import Handlers
from lava_grpc.api.messages import pages, spend_keys
from lava_grpc.gateway.principal import Principal
from lava_grpc.gateway.spend_keys import SpendKeys


class SpendKeyHandlers:
    """The merchant's spend keys. `changed` is told the id of a key that was changed here."""

    def __init__(self, use_case: SpendKeys, changed: Callable[[str], None]) -> None:
        self._keys = use_case
        self._changed = changed

    def table(self) -> Handlers:
        """By full method name."""
        service = "lava.v1.SpendKeyService"
        return {
            f"{service}/CreateSpendKey": self.create,
            f"{service}/ListSpendKeys": self.list,
            f"{service}/GetSpendKey": self.get,
            f"{service}/UpdateSpendKey": self.update,
            f"{service}/DeleteSpendKey": self.delete,
            f"{service}/RotateSpendKey": self.rotate,
        }

    async def create(
        self, request: pb.CreateSpendKeyRequest, principal: Principal, _deadline: float | None
    ) -> pb.CreateSpendKeyResponse:
        """Make a key."""
        key, plaintext = await self._keys.create(principal, spend_keys.to_new(request))
        shown = spend_keys.from_key(key, self._keys.now(), plaintext)
        return pb.CreateSpendKeyResponse(spend_key=shown)

    async def list(
        self, request: pb.ListSpendKeysRequest, principal: Principal, _deadline: float | None
    ) -> pb.ListSpendKeysResponse:
        """A page of keys."""
        found = await self._keys.list(principal, pages.to_page(request))
        now = self._keys.now()
        return pb.ListSpendKeysResponse(
            data=[spend_keys.from_key(key, now) for key in found.items],
            has_more=pages.has_more(found),
            next_cursor=found.next_cursor,
        )

    async def get(
        self, request: pb.GetSpendKeyRequest, principal: Principal, _deadline: float | None
    ) -> pb.GetSpendKeyResponse:
        """One key."""
        key = await self._keys.get(principal, request.spend_key_id)
        return pb.GetSpendKeyResponse(spend_key=spend_keys.from_key(key, self._keys.now()))

    async def update(
        self, request: pb.UpdateSpendKeyRequest, principal: Principal, _deadline: float | None
    ) -> pb.UpdateSpendKeyResponse:
        """Change a key."""
        changes = spend_keys.to_changes(request)
        key = await self._keys.update(principal, request.spend_key_id, changes)
        self._changed(key.key.spend_key_id)
        return pb.UpdateSpendKeyResponse(spend_key=spend_keys.from_key(key, self._keys.now()))

    async def delete(
        self, request: pb.DeleteSpendKeyRequest, principal: Principal, _deadline: float | None
    ) -> pb.DeleteSpendKeyResponse:
        """Revoke a key."""
        await self._keys.revoke(principal, request.spend_key_id)
        self._changed(request.spend_key_id)
        return pb.DeleteSpendKeyResponse(success=True)

    async def rotate(
        self, request: pb.RotateSpendKeyRequest, principal: Principal, _deadline: float | None
    ) -> pb.RotateSpendKeyResponse:
        """Replace a key's text."""
        key, plaintext = await self._keys.rotate(principal, request.spend_key_id)
        self._changed(key.key.spend_key_id)
        shown = spend_keys.from_key(key, self._keys.now(), plaintext)
        return pb.RotateSpendKeyResponse(spend_key=shown)
