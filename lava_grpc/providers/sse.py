"""Server-sent events, as the WHATWG HTML standard defines the stream (section 9.2)."""

from __future__ import annotations

import re

EVENT_BYTES_MAX = 32 * 1024 * 1024
"""The largest event that is read; a larger one passes unread."""

# Two line ends in a row close an event. Atomic, so that one CRLF is never taken
# for two line ends.
_EVENT_END = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
# An end is at most this long, so a search that starts this far back misses none.
_END_BYTES_MAX = 4

_BOM = b"\xef\xbb\xbf"


class SseSplitter:
    """Cuts a stream into whole events, wherever its chunks are cut.

    The blocks that `feed` and `rest` return, one after the other, are exactly
    the bytes fed. A block holds one event with its closing blank line, or
    comments and blank lines only, or (after an event beyond the limit) a piece
    of one, which `parse_event` finds nothing in worth reading.
    """

    def __init__(self, event_bytes_max: int = EVENT_BYTES_MAX) -> None:
        self._limit = event_bytes_max
        self._held = bytearray()
        # Where the search for an event's end goes on, so that no byte is searched twice.
        self._searched = 0
        # The last block closed on a CR; a LF that follows still belongs to it.
        self._after_cr = False
        self.too_large = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The blocks that `chunk` completes."""
        if not self._held and not self._after_cr and chunk.endswith(b"\n\n") and b"\r" not in chunk:
            return [block + b"\n\n" for block in chunk[:-2].split(b"\n\n")]
        return self._feed_slowly(chunk)

    def rest(self) -> bytes:
        """What was fed after the last whole event; empty from then on."""
        rest = bytes(self._held)
        self._held.clear()
        self._searched = 0
        return rest

    def _feed_slowly(self, chunk: bytes) -> list[bytes]:
        held = self._held
        blocks: list[bytes] = []
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk.startswith(b"\n"):
                blocks.append(b"\n")
                chunk = chunk[1:]
        held += chunk
        start = 0
        while found := _EVENT_END.search(held, max(start, self._searched)):
            end = found.end()
            blocks.append(bytes(held[start:end]))
            self._after_cr = end == len(held) and held[end - 1] == ord("\r")
            start = self._searched = end
        del held[:start]
        self._searched = max(0, len(held) - _END_BYTES_MAX)
        if len(held) > self._limit:
            self.too_large = True
            blocks.append(self.rest())
        return blocks


def parse_event(block: bytes) -> tuple[bytes, bytes]:
    """The event's name and its data, each empty where the block has none."""
    block = block.removeprefix(_BOM)
    # The usual event: one data line.
    if block.startswith(b"data: ") and block.find(b"\n") >= len(block) - 2 and b"\r" not in block:
        return b"", block[6:].rstrip(b"\n")
    name = b""
    data: list[bytes] = []
    for line in block.splitlines():
        key, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if key == b"data":
            data.append(value)
        elif key == b"event":
            name = value
    return name, b"\n".join(data)


def comments_of(block: bytes) -> bytes:
    """The block's comment lines alone, byte for byte."""
    lines = block.splitlines(keepends=True)
    return b"".join(line for line in lines if line.startswith(b":"))
