"""Unpack the bodies that web servers compress, in bounded memory whatever a body claims.

The decoders are urllib3's, but for zstd: there urllib3 takes any window up to the 128 MiB that the library allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import urllib3
from backports import zstd
from urllib3 import response as decoders

MOST_CHAINED = 3
"""Most compressions of one body, one around the other."""

_COMPRESSIONS = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress", "dcb", "dcz"})
_PIECE_BYTES = 2**16
_WINDOW_LOG = 23
"""Binary logarithm of the largest window of zstd, 8 MiB: what RFC 9659 allows on the web, and browsers take. The
windows of gzip and deflate have 32 KiB, that of brotli at most 16 MiB, by their formats."""


class _Decoder(Protocol):
    """The part of urllib3's decoders that is used here."""

    @property
    def has_unconsumed_tail(self) -> bool:
        """Whether more comes out although nothing goes in."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Take more of the body, and return at most so many bytes."""

    def flush(self) -> bytes:
        """Return what is left at the end of the body."""


def compressions_of(response: urllib3.BaseHTTPResponse) -> list[str]:
    """Return the compressions that the header of a response names, in the order in which the server applied them."""
    names = [name.strip() for name in response.headers.get("Content-Encoding", "").lower().split(",")]
    return [name for name in names if name in _COMPRESSIONS]


def unpacked(pieces: Iterable[bytes], compressions: Sequence[str]) -> Iterator[bytes]:
    """Yield the pieces of a body without its compressions, each of at most 64 KiB if there are any.

    Args:
        pieces: Pieces of the body as it was received.
        compressions: From `compressions_of`, each one that urllib3 can unpack.

    Raises:
        urllib3.exceptions.DecodeError: If the body is not compressed so, or a zstd window has more than 8 MiB.
    """
    for name in reversed(compressions):
        pieces = _through(_decoder(name), pieces)
    yield from pieces


def _decoder(name: str) -> _Decoder:
    match name:
        case "zstd":
            return _Zstd()
        case "br":
            return decoders.BrotliDecoder()
        case "deflate":
            return decoders.DeflateDecoder()
        case _:
            return decoders.GzipDecoder()


def _through(decoder: _Decoder, pieces: Iterable[bytes]) -> Iterator[bytes]:
    received = False
    for piece in pieces:
        received = True
        yield from filter(None, [_guarded(decoder, piece)])
        while decoder.has_unconsumed_tail:
            more = _guarded(decoder, b"")
            if not more:
                break
            yield more
    if received:
        yield from filter(None, [_flushed(decoder)])


def _guarded(decoder: _Decoder, piece: bytes) -> bytes:
    try:
        return decoder.decompress(piece, _PIECE_BYTES)
    except decoders.BaseHTTPResponse.DECODER_ERROR_CLASSES as error:
        raise urllib3.exceptions.DecodeError(str(error)) from error


def _flushed(decoder: _Decoder) -> bytes:
    try:
        return decoder.flush()
    except decoders.BaseHTTPResponse.DECODER_ERROR_CLASSES as error:
        raise urllib3.exceptions.DecodeError(str(error)) from error


class _Zstd:
    """Unpacks the frames of zstd, of which each has a bounded window."""

    def __init__(self) -> None:
        self._frame = self._next()

    @staticmethod
    def _next() -> zstd.ZstdDecompressor:
        return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})

    @property
    def has_unconsumed_tail(self) -> bool:
        """Whether more comes out although nothing goes in."""
        return bool(self._frame.unused_data) if self._frame.eof else not self._frame.needs_input

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Take more of the body, and return at most so many bytes."""
        if self._frame.eof:
            data = self._frame.unused_data + data
            if not data:
                return b""
            self._frame = self._next()
        return self._frame.decompress(data, max_length)

    def flush(self) -> bytes:
        """Return nothing; raise DecodeError if the last frame is not complete."""
        if not self._frame.eof:
            raise urllib3.exceptions.DecodeError("the last frame of zstd is not complete")
        return b""
