"""A reader of protocol buffers' wire format, as far as SentencePiece models need it.

Format: https://protobuf.dev/programming-guides/encoding/. Knows no message type.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10

FieldValue = int | bytes


class WireFormatError(ValueError):
    """The bytes are not a sequence of fields."""


def iter_fields(message: bytes) -> Iterator[tuple[int, FieldValue]]:
    """Yield (field number, value) of a message; a value is a whole number, or bytes.

    The bytes of fixed-width fields are given as they are; see `as_float`.
    """
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, wire_type = tag >> 3, tag & 7
        if number == 0:
            raise WireFormatError(f"field number 0 at byte {position}")
        if wire_type == _VARINT:
            value, position = _varint(message, position)
            yield number, value
            continue
        if wire_type == _BYTES:
            length, position = _varint(message, position)
        elif wire_type in (_FIXED32, _FIXED64):
            length = 4 if wire_type == _FIXED32 else 8
        else:
            raise WireFormatError(f"wire type {wire_type} at byte {position}")
        if length > len(message) - position:
            raise WireFormatError(
                f"field {number} needs {length} bytes at byte {position}, but only "
                f"{len(message) - position} are left"
            )
        yield number, message[position : position + length]
        position += length


def as_bytes(value: FieldValue) -> bytes:
    """Return the value of a bytes or message field."""
    if not isinstance(value, bytes):
        raise WireFormatError("expected bytes, found a number")
    return value


def as_text(value: FieldValue) -> str:
    """Return the value of a string field."""
    return as_bytes(value).decode("utf-8")


def as_float(value: FieldValue) -> float:
    """Return the value of a float field."""
    data = as_bytes(value)
    if len(data) != 4:
        raise WireFormatError(f"expected a float of 4 bytes, found {len(data)}")
    return float(struct.unpack("<f", data)[0])


def as_int(value: FieldValue) -> int:
    """Return the value of an integer, enumeration or boolean field."""
    if not isinstance(value, int):
        raise WireFormatError("expected a number, found bytes")
    return value


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(_MAX_VARINT_BYTES):
        if position + shift >= len(message):
            raise WireFormatError(f"the bytes end inside a number at byte {position}")
        byte = message[position + shift]
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, position + shift + 1
    raise WireFormatError(f"a number of more than {_MAX_VARINT_BYTES} bytes at byte {position}")
