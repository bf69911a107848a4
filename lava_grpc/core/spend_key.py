"""Spend keys: credentials for somebody else, within limits, at the merchant's expense."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lava_grpc.core.budget import Budget, Limits
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.money import Amount
from lava_grpc.core.time import Instant

KEY_PREFIX = "lava_sk_"
"""What the key itself begins with."""


class RequestShape(StrEnum):
    """The wire format of a key's calls."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


class SpendKeyStatus(StrEnum):
    """Whether a key may be used."""

    ACTIVE = "active"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class SpendKey:
    """A key without its text: only its hash is stored. Its account has the same id.

    None allows all models, all providers, or never expires.
    """

    merchant_id: str
    spend_key_id: str
    name: str
    preview: str
    status: SpendKeyStatus
    request_shape: RequestShape
    allowed_models: tuple[str, ...] | None
    allowed_providers: tuple[str, ...] | None
    limits: Limits
    expires_at: Instant | None
    created_at: Instant

    def require_usable(self, now: Instant) -> None:
        """Refuse PERMISSION_DENIED a key that is paused or has expired."""
        if self.status is SpendKeyStatus.PAUSED:
            raise self._denied("is paused")
        if self.expires_at is not None and self.expires_at <= now:
            raise self._denied("has expired")

    def require_provider(self, provider: str) -> None:
        """Refuse PERMISSION_DENIED a provider that the key is not for."""
        if self.allowed_providers is not None and provider not in self.allowed_providers:
            raise self._denied(f"is not for provider '{provider[:80]}'")

    def require_model(self, provider: str, model: str | None) -> None:
        """Refuse PERMISSION_DENIED a model that the key is not for."""
        if not self.allows_model(provider, model):
            raise self._denied(f"is not for model '{(model or '')[:80]}'")

    def allows_model(self, provider: str, model: str | None) -> bool:
        """Whether the model may be called; it is listed as `model` or `provider/model`."""
        if self.allowed_models is None:
            return True
        return model is not None and not {model, f"{provider}/{model}"}.isdisjoint(
            self.allowed_models
        )

    def require_shape(self, shape: RequestShape | None) -> None:
        """Refuse PERMISSION_DENIED a call in another wire format than the key's."""
        if shape is not self.request_shape:
            raise self._denied(f"is for calls in the {self.request_shape.value} format")

    def _denied(self, why: str) -> Refusal:
        return Refusal(
            Reason.PERMISSION_DENIED,
            f"spend key {self.spend_key_id} {why}",
            facts={"spend_key_id": self.spend_key_id},
        )


@dataclass(frozen=True, slots=True)
class UsedSpendKey:
    """A key, and what the books say of it. `total_spend` is all that was ever settled."""

    key: SpendKey
    budget: Budget
    total_spend: Amount
