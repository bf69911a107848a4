"""How much a model reads and writes at most, where the price catalogue does not say.

From the providers' model pages. The price catalogue knows many context windows
and no output limits; an operator's price file can state both.
"""

from __future__ import annotations

import re
from functools import lru_cache

CONTEXT_TOKENS_DEFAULT = 1_050_000
"""The context window of a model that nobody knows: as large as the large ones."""

OUTPUT_TOKENS_DEFAULT = 131_072
"""The most that an unknown model writes, if its context window is not smaller."""

# Name fragments, the first match counts; the model's name in lower case.
_OUTPUT_MAX: tuple[tuple[str, int], ...] = (
    # OpenAI
    (r"gpt-4o.*-(audio|realtime|search)", 16_384),
    (r"gpt-4o|chatgpt-4o", 16_384),
    (r"gpt-4\.1", 32_768),
    (r"gpt-4\.5", 16_384),
    (r"gpt-4-turbo|gpt-4-1106|gpt-4-0125|gpt-3\.5", 4_096),
    (r"gpt-4(?!\d)", 8_192),
    (r"gpt-5.*-pro", 272_000),
    (r"gpt-5|codex", 128_000),
    (r"gpt-oss", 131_072),
    (r"(^|[/.])o1-mini", 65_536),
    (r"(^|[/.])o1-preview", 32_768),
    (r"(^|[/.])o[134](-|$)", 100_000),
    # Anthropic
    (r"claude-(2|instant)", 4_096),
    (r"claude-3[.-]7", 128_000),
    (r"claude-3[.-]5", 8_192),
    (r"claude-3", 4_096),
    (r"claude-(opus-4-[015](?!\d)|opus-4(-2025|@|$)|4-opus|opus-4$)", 64_000),
    (r"claude-(haiku-4|sonnet-4-5|sonnet-4(-2025|@|$)|4-sonnet|4\.5)", 64_000),
    (r"claude", 128_000),
    # Google
    (r"gemini-(1\.|2\.0|flash-1\.|pro-1\.)", 8_192),
    (r"gemini-.*image|nano-banana", 32_768),
    (r"gemini", 65_536),
    (r"gemma", 32_768),
    # Amazon
    (r"nova-2", 65_536),
    (r"nova-(micro|lite|pro|premier)", 10_240),
    (r"titan-text", 8_192),
    # Cohere
    (r"command-a-reasoning|command-a-plus", 65_536),
    (r"command-a", 8_192),
    (r"command", 4_096),
    # DeepSeek on its own API; others that serve it set limits of their own.
    (r"deepseek-v4|deepseek-flash", 393_216),
    (r"deepseek-(r1|reasoner)", 65_536),
    # Reasoning is counted beside the answer, and both are bounded by this together.
    (r"sonar-deep-research", 262_144),
    (r"sonar", 131_072),
)
_COMPILED = tuple((re.compile(pattern), limit) for pattern, limit in _OUTPUT_MAX)


@lru_cache(maxsize=1024)
def output_max(model: str) -> int | None:
    """The most output tokens that a model is known to write in one answer."""
    name = model.lower()
    return next((limit for pattern, limit in _COMPILED if pattern.search(name)), None)
