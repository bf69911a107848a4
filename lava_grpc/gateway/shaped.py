"""Calls that name a model and no provider: the target follows from the model's name."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from lava_grpc.core.errors import invalid
from lava_grpc.core.spend_key import RequestShape
from lava_grpc.providers.model_choice import provider_for_model
from lava_grpc.providers.registry import Registry
from lava_grpc.providers.stream_options import with_text

_NAME_SHOWN_MAX = 80


@dataclass(frozen=True, slots=True)
class ShapedCall:
    """Where the call goes, and the body to send: the caller's, but for the model's prefix."""

    url: str
    body: bytes = field(repr=False)


class ShapeRouter:
    """Finds the provider of a call in OpenAI's or Anthropic's shape."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def __call__(self, shape: RequestShape, body: bytes) -> ShapedCall:
        """The call's target; refuses INVALID_FIELD for `body`, and for `model`.

        Takes time in proportion to the body: a large one is for a thread.
        """
        model = _model(body)
        choice = provider_for_model(model, shape, self._registry)
        if choice is None:
            raise invalid(
                "model",
                f"'{model[:_NAME_SHOWN_MAX]}' is not known to belong to a provider that takes "
                f"{shape.value}'s format; name one as 'provider/model'",
            )
        if choice.model != model:
            renamed = with_text(body, "model", choice.model)
            if renamed is None:
                raise invalid("body", "must be a JSON object in UTF-8")
            body = renamed
        return ShapedCall(choice.url, body)


def _model(body: bytes) -> str:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise invalid("body", "must be a JSON object") from None
    if not isinstance(fields, dict):
        raise invalid("body", "must be a JSON object")
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise invalid("model", "is required: the name of a model")
    return model
