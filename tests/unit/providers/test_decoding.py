"""Compressed answers, read on the side and within bounds."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lava_grpc.providers.decoding import ZlibDecoder, decoder_for
from tests.unit.providers.recordings import cut
from tests.unit.providers.steady import steady

TEXT = b'{"usage":{"prompt_tokens":5}}' * 100


def _bare(data: bytes) -> bytes:
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return squeeze.compress(data) + squeeze.flush()


@pytest.mark.parametrize(
    "encode", [gzip.compress, zlib.compress, _bare], ids=["gzip", "zlib", "bare"]
)
@pytest.mark.parametrize("size", [1, 5, 10**6])
def test_what_was_squeezed_comes_out_whole(encode: object, size: int) -> None:
    assert callable(encode)
    decoder = ZlibDecoder()
    pieces = [piece for chunk in cut(encode(TEXT), size) for piece in decoder.feed(chunk)]
    assert b"".join(pieces) == TEXT


@pytest.mark.parametrize("size", [1, 10**6])
def test_gzip_members_follow_each_other(size: int) -> None:
    decoder = ZlibDecoder()
    raw = gzip.compress(b"one") + gzip.compress(b"two")
    assert b"".join(p for c in cut(raw, size) for p in decoder.feed(c)) == b"onetwo"


def test_an_answer_that_blows_up_is_not_read_to_its_end() -> None:
    decoder = ZlibDecoder(decoded_bytes_max=1000)
    assert sum(map(len, decoder.feed(gzip.compress(b"\0" * 10_000_000)))) <= 1000
    assert decoder.feed(b"more") == []


@steady
@given(st.binary(max_size=200))
def test_rubbish_gives_an_end_and_no_error(raw: bytes) -> None:
    decoder = ZlibDecoder()
    decoder.feed(raw)
    decoder.feed(raw)


def test_an_encoding_that_cannot_be_undone_is_known_as_such() -> None:
    assert decoder_for("br") is None
    assert decoder_for("zstd") is None
    assert decoder_for(" GZIP ") is not None
