"""Where each family's requests keep their limit on output, for each of their choices.

Only the endpoint's own places count: a host passes over another family's field,
and whoever wrote it there would have a small hold for a large answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lava_grpc.core.usage import COUNT_MAX
from lava_grpc.providers import counts

Path = tuple[str, ...]

# Spellings of one place, the first where a body has none of them.
_PLACES: Mapping[str, tuple[Path, ...]] = {
    "chat": (("max_tokens",), ("max_completion_tokens",)),
    "completions": (("max_tokens",),),
    "responses": (("max_output_tokens",),),
    "messages": (("max_tokens",),),
    "generate": (
        ("generationConfig", "maxOutputTokens"),
        ("generationConfig", "max_output_tokens"),
        ("generation_config", "max_output_tokens"),
        ("generation_config", "maxOutputTokens"),
    ),
    "interactions": (("generation_config", "max_output_tokens"),),
    "converse": (("inferenceConfig", "maxTokens"),),
    "cohere": (("max_tokens",),),
    "ollama": (("options", "num_predict"),),
}
# Bedrock's models take a body of their maker's shape.
_INVOKED: tuple[tuple[str, tuple[Path, ...]], ...] = (
    ("claude", (("max_tokens",),)),
    ("nova", (("inferenceConfig", "maxTokens"), ("inferenceConfig", "max_new_tokens"))),
    ("titan-text", (("textGenerationConfig", "maxTokenCount"),)),
    ("llama", (("max_gen_len",),)),
    ("mistral", (("max_tokens",),)),
    ("command", (("max_tokens",),)),
    ("jamba", (("max_tokens",),)),
)
# Endpoints in nobody's known shape: what looks like a limit is one.
_ANY: tuple[Path, ...] = (
    ("max_completion_tokens",),
    ("max_output_tokens",),
    ("max_tokens",),
    ("generationConfig", "maxOutputTokens"),
    ("generation_config", "max_output_tokens"),
    ("inferenceConfig", "maxTokens"),
    ("inferenceConfig", "max_new_tokens"),
    ("textGenerationConfig", "maxTokenCount"),
    ("max_gen_len",),
    ("options", "num_predict"),
)
# In shapes whose place for it is not read: what looks like one there is none.
_NOT_READ = frozenset(("conversations",))


def places_of(flavor: str, model: str | None) -> tuple[Path, ...]:
    """The places of an endpoint in a known shape; none for any other."""
    if flavor != "invoke":
        return _PLACES.get(flavor, ())
    name = (model or "").lower()
    if "embed" in name:
        return ()
    return next((places for maker, places in _INVOKED if maker in name), ())


def output_limit(flavor: str, model: str | None, fields: Mapping[str, Any]) -> int | None:
    """The request's own limit for each choice; None where it states none that binds.

    The largest of several: nobody knows which of them a host goes by.
    """
    if flavor in _NOT_READ:
        return None
    places = places_of(flavor, model) or _ANY
    stated = [value for path in places if (value := counts.at(fields, *path)) is not None]
    # Zero and below are for the provider to refuse, or mean "no limit" (Ollama's -1).
    limits = [
        value
        for value in stated
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= COUNT_MAX
    ]
    return max(limits) if limits and len(limits) == len(stated) else None
