"""The flavors: which reader an endpoint's answers have, and how its requests ask."""

from __future__ import annotations

from dataclasses import dataclass

from lava_grpc.providers import (
    anthropic,
    batches,
    bedrock,
    cohere,
    gemini,
    generic,
    jobs,
    openai,
    openai_media,
    routes,
)
from lava_grpc.providers.provider import Provider
from lava_grpc.providers.reader import Reader


@dataclass(frozen=True, slots=True)
class Flavor:
    """One endpoint shape."""

    reader: type[Reader]
    # Its requests are JSON, and anything else is refused before it is sent.
    json_request: bool = True
    # It generates text, so the request may carry a limit and a number of choices.
    generates: bool = True
    # It streams unless told not to.
    streams_unasked: bool = False


FLAVORS: dict[str, Flavor] = {
    "chat": Flavor(openai.ChatReader),
    "completions": Flavor(openai.ChatReader),
    "responses": Flavor(openai.ResponsesReader),
    "embeddings": Flavor(openai.OpenAIReader, generates=False),
    "moderations": Flavor(openai.OpenAIReader, generates=False),
    "rerank": Flavor(cohere.RerankReader, generates=False),
    "images": Flavor(openai_media.ImagesReader),
    "speech": Flavor(openai_media.SpeechReader, generates=False),
    "transcription": Flavor(openai_media.TranscriptionReader, json_request=False, generates=False),
    "ocr": Flavor(generic.OcrReader, generates=False),
    "conversations": Flavor(generic.ConversationReader),
    "messages": Flavor(anthropic.MessagesReader),
    "batch": Flavor(batches.BatchReader, generates=False),
    "batch_results": Flavor(batches.BatchResultsReader, json_request=False, generates=False),
    "job": Flavor(jobs.JobReader, generates=False),
    "job_content": Flavor(jobs.JobContentReader, json_request=False, generates=False),
    "video": Flavor(jobs.JobReader, json_request=False, generates=False),
    "generate": Flavor(gemini.GenerateReader),
    "embed": Flavor(gemini.EmbedReader, generates=False),
    "predict": Flavor(gemini.PredictReader, generates=False),
    "interactions": Flavor(gemini.InteractionsReader),
    "converse": Flavor(bedrock.ConverseReader),
    "invoke": Flavor(bedrock.InvokeReader),
    "cohere": Flavor(cohere.CohereReader),
    "ollama": Flavor(generic.OllamaReader, streams_unasked=True),
    "ollama_embed": Flavor(generic.OllamaReader, generates=False),
    "duration": Flavor(generic.DurationReader, json_request=False, generates=False),
    routes.OTHER: Flavor(generic.GenericReader, json_request=False),
    routes.NO_USAGE: Flavor(generic.NoUsageReader, json_request=False, generates=False),
}
"""Every flavor by its name, which is `Call.flavor`."""


def flavor_at(provider: Provider, name: str) -> Flavor:
    """The flavor of this name: everybody's, or one of the provider's own."""
    found = FLAVORS.get(name)
    if found is not None:
        return found
    own = next(endpoint for endpoint in provider.endpoints if endpoint.flavor == name)
    return Flavor(own.reader, json_request=own.json_request, generates=own.generates)


LINE_FLAVORS = frozenset(("batch_results",))
"""The flavors whose answers are a document a line, whatever their content type says."""

STREAM_OPTION_FLAVORS = frozenset(("chat", "completions"))
"""The flavors whose streams state usage only when `stream_options` asks for it."""
