"""The binary event framing of AWS (`application/vnd.amazon.eventstream`).

A message is: total length, header length and their CRC-32 (four bytes each,
big-endian), headers, payload, CRC-32 of all before it. Source: the AWS SDKs'
published event stream encoding.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

MESSAGE_BYTES_MAX = 25 * 1024 * 1024
"""A message is at most 24 MiB by the format's own rule; beyond that the stream is not read."""

_PRELUDE_BYTES = 12
_CRC_BYTES = 4
_STRING_TYPES = (6, 7)
# Value sizes by header type: true, false, byte, short, int, long; then timestamp and UUID.
_FIXED_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}


@dataclass(frozen=True, slots=True)
class Message:
    """One message: its text headers and its payload."""

    headers: dict[str, str]
    payload: bytes


class EventStreamSplitter:
    """Cuts a byte stream into messages. Stops reading, once and for all, at what is none."""

    def __init__(self) -> None:
        self._held = bytearray()
        self.broken = False

    def feed(self, chunk: bytes) -> list[Message]:
        """The messages that `chunk` completes."""
        if self.broken:
            return []
        held = self._held
        held += chunk
        messages: list[Message] = []
        start = 0
        while len(held) - start >= _PRELUDE_BYTES:
            prelude = bytes(held[start : start + _PRELUDE_BYTES])
            total = int.from_bytes(prelude[:4], "big")
            if not self._sound(prelude, total):
                break
            if len(held) - start < total:
                break
            message = _message(bytes(held[start : start + total]))
            if message is None:
                self._stop()
                break
            messages.append(message)
            start += total
        del held[:start]
        return messages

    def pending(self) -> bool:
        """Whether a message was begun and not ended."""
        return bool(self._held)

    def _sound(self, prelude: bytes, total: int) -> bool:
        headers_bytes = int.from_bytes(prelude[4:8], "big")
        sound = (
            zlib.crc32(prelude[:8]) == int.from_bytes(prelude[8:12], "big")
            and total <= MESSAGE_BYTES_MAX
            and headers_bytes + _PRELUDE_BYTES + _CRC_BYTES <= total
        )
        if not sound:
            self._stop()
        return sound

    def _stop(self) -> None:
        self.broken = True
        self._held = bytearray()


def _message(raw: bytes) -> Message | None:
    if zlib.crc32(raw[:-_CRC_BYTES]) != int.from_bytes(raw[-_CRC_BYTES:], "big"):
        return None
    headers_end = _PRELUDE_BYTES + int.from_bytes(raw[4:8], "big")
    headers = _headers(raw[_PRELUDE_BYTES:headers_end])
    if headers is None:
        return None
    return Message(headers, raw[headers_end:-_CRC_BYTES])


def _headers(raw: bytes) -> dict[str, str] | None:
    headers: dict[str, str] = {}
    at = 0
    while at < len(raw):
        name_end = at + 1 + raw[at]
        name = raw[at + 1 : name_end]
        if name_end >= len(raw):
            return None
        kind = raw[name_end]
        at = name_end + 1
        if kind in _FIXED_SIZES:
            at += _FIXED_SIZES[kind]
            continue
        if kind not in _STRING_TYPES:
            return None
        size = int.from_bytes(raw[at : at + 2], "big")
        value = raw[at + 2 : at + 2 + size]
        at += 2 + size
        headers[name.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
    return headers
