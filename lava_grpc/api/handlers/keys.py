"""SecretKeyService."""

from __future__ import annotations

from collections.abc import Callable

from lava.v1 import secret_key_service_pb2 as pb

from lava_grpc.api.dispatch import Handlers
from lava_grpc.api.messages import keys, pages
from lava_grpc.gateway.checks import check_text
from lava_grpc.gateway.keys import SecretKeys
from lava_grpc.gateway.principal import Principal


class SecretKeyHandlers:
    """The merchant's keys. `revoked` is told the id of a key that was revoked here."""

    def __init__(self, keys_use_case: SecretKeys, revoked: Callable[[str], None]) -> None:
        self._keys = keys_use_case
        self._revoked = revoked

    def table(self) -> Handlers:
        """By full method name."""
        service = "lava.v1.SecretKeyService"
        return {
            f"{service}/CreateSecretKey": self.create,
            f"{service}/ListSecretKeys": self.list,
            f"{service}/DeleteSecretKey": self.delete,
        }

    async def create(
        self, request: pb.CreateSecretKeyRequest, principal: Principal, _deadline: float | None
    ) -> pb.CreateSecretKeyResponse:
        """Make a key."""
        key, plaintext = await self._keys.create(principal, request.name)
        return pb.CreateSecretKeyResponse(secret_key=keys.from_key(key, plaintext))

    async def list(
        self, request: pb.ListSecretKeysRequest, principal: Principal, _deadline: float | None
    ) -> pb.ListSecretKeysResponse:
        """A page of keys."""
        found = await self._keys.list(principal, pages.to_page(request))
        return pb.ListSecretKeysResponse(
            data=[keys.from_key(key) for key in found.items],
            has_more=pages.has_more(found),
            next_cursor=found.next_cursor,
        )

    async def delete(
        self, request: pb.DeleteSecretKeyRequest, principal: Principal, _deadline: float | None
    ) -> pb.DeleteSecretKeyResponse:
        """Revoke a key."""
        secret_key_id = check_text(request.secret_key_id, "secret_key_id")
        await self._keys.revoke(principal, secret_key_id)
        self._revoked(secret_key_id)
        return pb.DeleteSecretKeyResponse(id=secret_key_id, deleted=True)
