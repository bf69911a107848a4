"""What the gateway knows of a provider: where it lives, how it is spoken to."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum


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
    # Moderation costs nothing.
    FREE_MODERATION = "free_moderation"
    # The model's price belongs to the host named by the path's first segment.
    ROUTED_BY_PATH = "routed_by_path"


_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider. `hosts` are exact, lower-case names.

    In `host_patterns` each `*` stands for one run of letters, digits and
    hyphens inside a single label: `*.openai.azure.com` matches one account's
    host and never `x.openai.azure.com.evil.example`. What such a pattern
    matches is somebody's account, so a key belongs to one host of it alone.
    """

    id: str
    label: str
    base_url: str
    family: Family = Family.OPENAI
    hosts: tuple[str, ...] = ()
    host_patterns: tuple[str, ...] = ()
    auth: AuthStyle = AuthStyle.BEARER
    # The provider's id in the price catalogue, None where that knows no such provider.
    price_provider: str | None = None
    stream_usage: StreamUsage = StreamUsage.UNKNOWN
    quirks: frozenset[Quirk] = field(default_factory=frozenset)

    def per_account(self, host: str) -> bool:
        """Whether `host` is one customer's own endpoint rather than the provider's."""
        return host not in self.hosts


def compile_host_pattern(pattern: str) -> re.Pattern[str]:
    """The expression that matches whole host names of `pattern`; use `fullmatch`."""
    return re.compile(re.escape(pattern).replace(r"\*", _LABEL), re.ASCII)
