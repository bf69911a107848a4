"""What a metered operation used: tokens, characters, seconds, requests."""

from __future__ import annotations

import msgspec
from msgspec import structs

COUNT_MAX = 10**15
"""The largest count of one unit in one request; far above any real call, far below 64 bits."""

MICROS_PER_SECOND = 1_000_000


class Usage(msgspec.Struct, frozen=True):
    """Counted units of one operation. All are whole, non-negative numbers.

    `input_tokens` includes the cached, audio, image and video parts that stand beside
    it; `output_tokens` includes reasoning, audio and image. The parts are priced
    each at its own rate. Durations are whole microseconds, so that fractional
    seconds stay exact.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    # The part of cache_write_tokens that providers with a one-hour cache bill at its dearer rate.
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    cache_audio_read_tokens: int = 0
    cache_image_read_tokens: int = 0
    input_image_tokens: int = 0
    input_video_tokens: int = 0
    output_image_tokens: int = 0
    input_characters: int = 0
    output_characters: int = 0
    input_micros: int = 0
    output_micros: int = 0
    # Server-side tool calls billed by the piece (web searches).
    web_searches: int = 0
    # Searches of the caller's own stored files, billed by the piece.
    file_searches: int = 0
    # Generated pictures and search units (rerank), billed by the piece.
    images: int = 0
    search_units: int = 0
    # Document pages read (OCR), and those of them that were annotated too.
    pages: int = 0
    annotated_pages: int = 0
    # The part of output_tokens that quotes sources, where a provider prices it apart.
    citation_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output tokens together."""
        return self.input_tokens + self.output_tokens

    def as_dict(self) -> dict[str, int]:
        """The non-zero counts by name, for storage."""
        counts = zip(FIELDS, structs.astuple(self), strict=True)
        return {name: value for name, value in counts if value}

    @classmethod
    def from_dict(cls, counts: dict[str, int]) -> Usage:
        """The inverse of `as_dict`."""
        return cls(**counts)


FIELDS: tuple[str, ...] = Usage.__struct_fields__
NOTHING = Usage()
