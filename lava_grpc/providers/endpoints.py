"""The URL of an endpoint that a caller names in short, or not at all."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from lava_grpc.core.errors import invalid
from lava_grpc.providers.provider import Family, Provider

# The chat endpoint of each family, where a caller names none.
_CHAT_PATHS = {
    Family.ANTHROPIC: "/v1/messages",
    Family.COHERE: "/v2/chat",
}
_MODEL_PATHS = {
    Family.GEMINI: "/v1beta/models/{model}:generateContent",
    Family.BEDROCK: "/model/{model}/converse",
}


def url_at(
    provider: Provider, path: str | None, *, model: str | None, path_field: str, model_field: str
) -> str:
    """The URL of a path at a provider; of its chat endpoint where there is no path.

    Refuses INVALID_FIELD, naming the field, for a path that is none, and for a
    model that is missing where the chat endpoint's path names it.
    """
    base = urlsplit(provider.base_url)
    if path is None:
        path = _CHAT_PATHS.get(provider.family)
        if path is None and provider.family in _MODEL_PATHS:
            if not model:
                raise invalid(model_field, "is required for this provider")
            path = _MODEL_PATHS[provider.family].format(model=quote(model, safe=""))
        path = path or base.path.rstrip("/") + "/chat/completions"
    if not path.startswith("/") or any(c.isspace() or c in "?#\\" for c in path):
        raise invalid(path_field, "must be a path such as '/v1/chat/completions'")
    return f"https://{base.netloc}{path}"


def endpoint_of(provider: Provider, text: str | None, *, model: str | None) -> tuple[str, str]:
    """Method and URL of an endpoint as records spell it (`POST https://…`), a URL or a path.

    Refuses INVALID_FIELD for `endpoint`, and for `model` as `url_at` does.
    """
    method, space, rest = (text or "").partition(" ")
    if not space:
        method, rest = "POST", text or ""
    if rest.startswith("https://"):
        if any(c.isspace() for c in rest) or not method.isalpha():
            raise invalid("endpoint", "must be a URL, perhaps after a method: 'POST https://…'")
        return method.upper(), rest
    url = url_at(provider, rest or None, model=model, path_field="endpoint", model_field="model")
    return method.upper(), url
