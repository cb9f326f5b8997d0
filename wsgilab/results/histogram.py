"""Encoded histograms from strangers: looked through before anything decodes them. Pure."""

import base64
import re
import struct
import zlib
from collections import Counter

from hdrh.histogram import HdrHistogram

from wsgilab.analysis import stats

MOST_REQUESTS = 10**12
"""In one window."""

# HdrHistogram, "V2 Compressed" and "V2" encodings: cookies, length, and the settings that the counts were made with.
_OUTER = struct.Struct(">II")
_HEADER = struct.Struct(">IIIIQQd")
_OUTER_COOKIE, _COOKIE = 0x1C849314, 0x1C849313
_SETTINGS = (0, stats.DIGITS, stats.LOWEST_US, stats.HIGHEST_US, 1.0)
_LONGEST_VALUE = 9
_NUMBER = re.compile(rb"[\x80-\xff]{0,7}[\x00-\x7f]|[\x80-\xff]{8}.", re.DOTALL)
_COUNTS = int(HdrHistogram(stats.LOWEST_US, stats.HIGHEST_US, stats.DIGITS).counts_len)
_LARGEST = _HEADER.size + _COUNTS * _LONGEST_VALUE


def check(encoded: str, key: str) -> None:
    """Raises ValueError, with the key, unless `encoded` is a histogram as the lab makes them.

    It is base64, zlib, and V2, of the lab's own range and digits. No more is decompressed than the largest of them is, and
    the counts are read here before any other code, some of it in C, does: they are whole, not negative, not too many, and
    lie within the range.
    """
    try:
        outer = base64.b64decode(encoded.encode("ascii"), validate=True)
    except ValueError:
        raise ValueError(f"{key}: is not base64") from None
    if len(outer) < _OUTER.size or _OUTER.unpack_from(outer) != (_OUTER_COOKIE, len(outer) - _OUTER.size):
        raise ValueError(f"{key}: is no compressed HdrHistogram V2")
    inflate = zlib.decompressobj()
    try:
        inner = inflate.decompress(outer[_OUTER.size :], _LARGEST + 1)
    except zlib.error:
        raise ValueError(f"{key}: cannot be decompressed") from None
    if not inflate.eof or inflate.unused_data or len(inner) > _LARGEST:
        raise ValueError(f"{key}: is cut, or larger than any of this lab")
    if len(inner) < _HEADER.size:
        raise ValueError(f"{key}: has no header")
    cookie, length, *settings = _HEADER.unpack_from(inner)
    if (cookie, length, *settings) != (_COOKIE, len(inner) - _HEADER.size, *_SETTINGS):
        raise ValueError(f"{key}: is a histogram of another range or other digits than this lab's")
    _check_counts(inner[_HEADER.size :], key)


def _check_counts(counts: bytes, key: str) -> None:
    """A count above 0 is one, of the next index; below 0 it is so many indices without any."""
    numbers = _NUMBER.findall(counts)
    # Only at the end can there be bytes that make no number.
    if sum(map(len, numbers)) < len(counts):
        raise ValueError(f"{key}: is cut within a count")
    index = total = 0
    # Most counts are alike, so that few of them must be looked at.
    for number, times in Counter(numbers).items():
        value = _value(number)
        index += times * (1 if value >= 0 else -value)
        total += times * max(0, value)
    if index > _COUNTS or total > MOST_REQUESTS:
        raise ValueError(f"{key}: holds more than such a histogram can")


def _value(number: bytes) -> int:
    """A number in LEB128, of 64 bits in nine bytes at most, and ZigZag."""
    value = 0
    for place, byte in enumerate(number):
        value |= (byte if place == _LONGEST_VALUE - 1 else byte & 0x7F) << 7 * place
    return (value >> 1) ^ -(value & 1)
