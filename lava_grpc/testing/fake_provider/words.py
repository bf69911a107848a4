"""What the fake says and how it counts: one word is one token.

An answer's words follow from its prompt alone. The first is chosen by the
number of words in the prompt, plus the index of the choice; the others follow
in the order of VOCABULARY. It has DEFAULT_WORDS of them unless asked for
another number, and stops at the request's own limit.
"""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_WORDS = 12

_SENTENCE = "a quiet river carries every small boat down past old mills toward the wide bright sea"
VOCABULARY = tuple(_SENTENCE.split())


@dataclass(frozen=True, slots=True)
class Speech:
    """One answer's text, in pieces of one token."""

    pieces: tuple[str, ...]
    # Whether the request's limit cut it short.
    truncated: bool

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.pieces)

    @property
    def tokens(self) -> int:
        """Its tokens."""
        return len(self.pieces)


def speak(prompt_tokens: int, *, choice: int = 0, words: int | None, limit: int | None) -> Speech:
    """The answer to a prompt of so many tokens."""
    wanted = DEFAULT_WORDS if words is None else words
    count = wanted if limit is None else min(wanted, limit)
    start = prompt_tokens + choice
    said = (VOCABULARY[(start + index) % len(VOCABULARY)] for index in range(count))
    pieces = tuple(f" {word}" if index else word for index, word in enumerate(said))
    return Speech(pieces, truncated=count < wanted)


def tokens_in(content: object) -> int:
    """The tokens in any part of a request: the words of all text in it.

    Text is a bare string, or what stands under `text`, `content` or `parts`;
    a number is a token by itself.
    """
    match content:
        case str():
            return len(content.split())
        case list():
            return sum(map(tokens_in, content))
        case dict():
            return sum(
                tokens_in(content[key]) for key in ("text", "content", "parts") if key in content
            )
        case int():
            return 1
        case _:
            return 0
