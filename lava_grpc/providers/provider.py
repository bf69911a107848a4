"""What the gateway knows of a provider: where it lives, how it is spoken to."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lava_grpc.providers.reader import Reader


class Family(StrEnum):
    """The wire format that a provider's own endpoints speak.

    Endpoints in the shape of OpenAI or Anthropic are known by their path on
    every host, since most providers offer them beside their own.
    """

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"
    BEDROCK = "bedrock"
    COHERE = "cohere"
    SPEECH = "speech"
    # Pictures and videos that are made after the answer: Replicate, Runway, Stability.
    MEDIA = "media"
    GENERIC = "generic"


class AuthStyle(StrEnum):
    """How a provider takes its key."""

    BEARER = "bearer"
    TOKEN = "token"  # noqa: S105 - a scheme's name: `Authorization: Token <key>`
    RAW = "raw"  # `Authorization: <key>`
    X_API_KEY = "x-api-key"
    X_GOOG_API_KEY = "x-goog-api-key"
    XI_API_KEY = "xi-api-key"
    API_KEY = "api-key"
    QUERY_KEY = "query-key"  # `?key=<key>`
    # Requests are signed; a Bedrock API key goes as a bearer token instead.
    AWS_SIGV4 = "aws-sigv4"


class StreamUsage(StrEnum):
    """How usage gets into the stream of a chat completion."""

    # Only when `stream_options.include_usage` asks for it; the host is known to take that.
    ASK = "ask"
    # It is sent unasked: asking would add nothing, and could be refused.
    ALWAYS = "always"
    # Not known to take the option, so it is not risked: usage is estimated if none is sent.
    UNKNOWN = "unknown"


class Quirk(StrEnum):
    """Where a host's usage departs from the shape it otherwise follows."""

    # `reasoning_tokens` come on top of `completion_tokens` unless the total says otherwise.
    REASONING_APART = "reasoning_apart"
    # Thinking is in `total_tokens` only: output is the total less the prompt.
    THINKING_IN_TOTAL = "thinking_in_total"
    # `reasoning_tokens` and `citation_tokens` are billed beside `completion_tokens`.
    SEARCH_PARTS_APART = "search_parts_apart"
    # Asked for usage, every other chunk of a stream gets a `"usage":null` that it has not
    # unasked: it is taken out along with the chunk that was asked for.
    NULL_USAGE_IF_ASKED = "null_usage_if_asked"
    # Moderation costs nothing.
    FREE_MODERATION = "free_moderation"
    # The model's price belongs to the host named by the path's first segment.
    ROUTED_BY_PATH = "routed_by_path"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint in a format of the provider's own: what reads its answers."""

    # Matches the whole path; a group `model` is the model's name.
    path: str
    # Its name among the flavors; no other one's.
    flavor: str
    reader: type[Reader]
    # Its requests are JSON, and anything else is refused before it is sent.
    json_request: bool = True
    # It generates text, so the request may carry a limit and a number of choices.
    generates: bool = True


_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider. `hosts` are exact, lower-case names.

    In `host_patterns` each `*` stands for one run of letters, digits and
    hyphens inside a single label: `*.openai.azure.com` matches one account's
    host and never `x.openai.azure.com.evil.example`. Unless it is `regional`,
    what a pattern matches is somebody's account, so a key belongs to one host
    of it alone.
    """

    id: str
    label: str
    base_url: str
    family: Family = Family.OPENAI
    hosts: tuple[str, ...] = ()
    host_patterns: tuple[str, ...] = ()
    # `host_patterns` match the provider's own regions, so that one key is for all of them.
    regional: bool = False
    auth: AuthStyle = AuthStyle.BEARER
    # The provider's id in the price catalogue, None where that knows no such provider.
    price_provider: str | None = None
    stream_usage: StreamUsage = StreamUsage.UNKNOWN
    quirks: frozenset[Quirk] = field(default_factory=frozenset)
    # Looked for before any other shape.
    endpoints: tuple[Endpoint, ...] = ()

    def per_account(self, host: str) -> bool:
        """Whether `host` is one customer's own endpoint rather than the provider's."""
        return not self.regional and host not in self.hosts


def compile_host_pattern(pattern: str) -> re.Pattern[str]:
    """The expression that matches whole host names of `pattern`; use `fullmatch`."""
    return re.compile(re.escape(pattern).replace(r"\*", _LABEL), re.ASCII)
