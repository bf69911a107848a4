"""Cuts streams of JSON documents apart: one a line, or the items of one array."""

from __future__ import annotations

import re

ITEM_BYTES_MAX = 32 * 1024 * 1024
"""The largest document that is read; the rest of a stream with a larger one passes unread."""

_MARKS = re.compile(rb'["\\{}]')


class LineSplitter:
    """NDJSON: documents of one line each."""

    def __init__(self, item_bytes_max: int = ITEM_BYTES_MAX) -> None:
        self._limit = item_bytes_max
        self._held = bytearray()
        self.too_large = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The documents that `chunk` completes."""
        self._held += chunk
        if b"\n" not in chunk:
            if len(self._held) > self._limit:
                self.too_large = True
                self._held.clear()
            return []
        *lines, last = bytes(self._held).split(b"\n")
        self._held = bytearray(last)
        return [line for line in lines if line.strip()]

    def rest(self) -> bytes:
        """The last line, which need not end in a line break."""
        rest = bytes(self._held)
        self._held.clear()
        return rest if rest.strip() else b""


class ArraySplitter:
    """The objects of one JSON array, as they arrive.

    Only braces outside strings are counted: that finds where each item ends,
    and whether it is JSON is for its reader to see.
    """

    def __init__(self, item_bytes_max: int = ITEM_BYTES_MAX) -> None:
        self._limit = item_bytes_max
        self._held = bytearray()
        self._position = 0
        self._depth = 0
        self._in_string = False
        self.too_large = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The items that `chunk` completes."""
        if self.too_large:
            return []
        held = self._held
        held += chunk
        items: list[bytes] = []
        start = 0
        while found := _MARKS.search(held, self._position):
            at, mark = found.start(), held[found.start()]
            self._position = at + 1
            if mark == ord("\\"):
                if at + 1 == len(held):
                    # What it escapes is still to come: look at it again then.
                    self._position = at
                    break
                self._position = at + 2
            elif mark == ord('"'):
                self._in_string = not self._in_string
            elif not self._in_string and mark == ord("{"):
                start = at if self._depth == 0 else start
                self._depth += 1
            elif not self._in_string and self._depth:
                self._depth -= 1
                if self._depth == 0:
                    items.append(bytes(held[start : at + 1]))
                    start = at + 1
        else:
            self._position = len(held)
        self._drop(start)
        return items

    def rest(self) -> bytes:
        """Nothing: an item that did not end says nothing."""
        return b""

    def _drop(self, start: int) -> None:
        if self._depth == 0:
            start = self._position
        del self._held[:start]
        self._position -= start
        if len(self._held) > self._limit:
            self.too_large = True
            self._held.clear()
