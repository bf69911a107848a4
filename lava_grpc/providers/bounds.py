"""The numbers behind an estimate: what a request can mean at most beyond its bytes.

Each is a documented limit of the providers, or well above what they document.
"""

from __future__ import annotations

from decimal import Decimal

from lava_grpc.providers.rates import THOUSAND, rate

PROMPT_TOKENS = 256
"""What providers put around a prompt: roles, and the system text of some open models."""

TOOL_PROMPT_TOKENS = 2_048
"""What they add to explain tools, once (Anthropic documents up to 1,200)."""

TOOL_SEARCHES_MAX = 4
"""How often a prompt is read again after a search among its own tools."""

IMAGE_TOKENS_MAX = 16_384
"""The most tokens of one picture given by address (large pictures of Qwen-VL)."""

IMAGE_TOKENS_MAX_BY_MODEL = {"gpt-4o-mini": 51_200}
"""The one model that counts a picture as far more: 2,833 tokens, and 5,667 a tile."""

FORM_IMAGES_MAX = 16
"""Pictures in one image edit, whose form is not taken apart."""

PICTURE_TOKENS_MAX = 16_384
"""The most output tokens of one generated picture."""

SPEECH_TOKENS_PER_CHARACTER = 8
"""Spoken at a quarter of the speed, 21 tokens a second are fewer than this per character."""

AUDIO_BYTES_PER_SECOND_MIN = 500
"""Sound for transcription has at least 4 kbit a second."""

AUDIO_SECONDS_MAX = 4 * 3600
"""The length of sound that is given by its address."""

AUDIO_TOKENS_PER_SECOND_MAX = 50
"""The most tokens of a second of sound (Google counts 32, Mistral and OpenAI fewer)."""

PICTURES_DEFAULT = 4
"""How many pictures Google's Imagen makes where nobody says."""

TRANSCRIPT_TOKENS_MAX = 16_384

PAGES_MAX = 1_000
"""The most pages that OCR takes of one document."""

TOOL_CALLS_MAX = 50
"""Server-side tool calls in one answer, each at a search's price or TOOL_CALL_PRICE."""

TOOL_CALL_PRICE = rate(Decimal(10), THOUSAND)

ROUTER_FACTOR = 2
"""A router may pick a host that is dearer than the one whose price is listed."""

BYTES_PER_TOKEN = 4
"""For guesses, where a stream was cut off: what text in English has."""

IMAGE_TOKENS_GUESS = 1_000

SPEECH_TENTHS_PER_CHARACTER_GUESS = 14
"""Speech says fifteen characters in a second, which is twenty-one tokens of sound."""
