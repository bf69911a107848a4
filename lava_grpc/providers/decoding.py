"""Undoes `content-encoding` on the side, bounded against answers that blow up."""

from __future__ import annotations

import zlib
from typing import Protocol

DECODED_BYTES_MAX = 256 * 1024 * 1024
"""The most that is decoded of one answer; what comes after is not read."""

_STEP_BYTES = 1024 * 1024
# zlib's window bits: with 32 added it takes gzip and zlib headers alike.
_AUTO_BITS = zlib.MAX_WBITS | 32
# How many bytes show that there is no header.
_HEADER_BYTES = 2


class Decoder(Protocol):
    """Turns encoded bytes into plain ones, chunk by chunk."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The plain bytes that `chunk` gives, in pieces; empty for good after an error."""
        ...


class ZlibDecoder:
    """gzip (of several members too), zlib, and the bare deflate that some servers send."""

    def __init__(self, decoded_bytes_max: int = DECODED_BYTES_MAX) -> None:
        self._left = decoded_bytes_max
        self._inflate = zlib.decompressobj(_AUTO_BITS)
        # The bytes that may be a header still, until there are enough to tell.
        self._head: bytes | None = b""
        self._stopped = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """See `Decoder.feed`."""
        pieces: list[bytes] = []
        while not self._stopped:
            piece = self._step(chunk)
            if piece:
                pieces.append(piece)
            chunk = self._unread()
            # A full step may have left more inside the decoder than it gave.
            if not chunk and len(piece) < _STEP_BYTES:
                break
        return pieces

    def _step(self, chunk: bytes) -> bytes:
        try:
            piece = self._inflate.decompress(chunk, _STEP_BYTES)
        except zlib.error:
            head, self._head = self._head, None
            if head is None:
                self._stopped = True
                return b""
            # No header: try it as bare deflate, once.
            self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
            return self._step(head + chunk)
        if self._head is not None:
            self._head += chunk[:_HEADER_BYTES]
            self._head = None if len(self._head) >= _HEADER_BYTES else self._head
        self._left -= len(piece)
        self._stopped = self._left < 0
        return b"" if self._stopped else piece

    def _unread(self) -> bytes:
        if self._inflate.eof:
            # A further gzip member, or nothing.
            unread = self._inflate.unused_data
            self._inflate = zlib.decompressobj(_AUTO_BITS)
            return unread
        return self._inflate.unconsumed_tail


def decoder_for(encoding: str) -> Decoder | None:
    """A decoder for a `content-encoding` value; None for those we cannot undo.

    br and zstd are not in the standard library: their answers pass unread, so
    the gateway should not offer them to a provider whose usage it must read.
    """
    match encoding.strip().lower():
        case "gzip" | "x-gzip" | "deflate":
            return ZlibDecoder()
        case _:
            return None
