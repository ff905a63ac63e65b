"""Reads safetensors files: the whole header is checked, then trusted.

Format: https://github.com/huggingface/safetensors#format. A file is 8 bytes with the header's
length, a JSON header, and one buffer that the tensors fill without gaps.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConversionError
from .tensor import ITEM_BYTES, SourceTensor

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000  # the reference implementation's limit


def read_safetensors(path: Path) -> list[SourceTensor]:
    """List the tensors of a file.

    Raises
    ------
    ConversionError
        The file is damaged, incomplete or not a safetensors file.
    """
    try:
        with path.open("rb") as file:
            file_bytes = file.seek(0, 2)
            file.seek(0)
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            if file_bytes < _LENGTH_BYTES or length > file_bytes - _LENGTH_BYTES:
                raise _damaged(
                    path,
                    f"the header needs {length} bytes, but the file has {file_bytes} in all",
                )
            if length > _MAX_HEADER_BYTES:
                raise _damaged(path, f"the header is {length} bytes, more than {_MAX_HEADER_BYTES}")
            header = file.read(length)
    except OSError as error:
        raise ConversionError(f"{path}: can't be read: {error}") from error
    buffer_start = _LENGTH_BYTES + length
    tensors = [
        _parse_entry(path, name, entry, buffer_start)
        for name, entry in _parse_header(path, header).items()
        if name != "__metadata__"
    ]
    _check_layout(path, tensors, buffer_start, file_bytes)
    return tensors


def _damaged(path: Path, found: str) -> ConversionError:
    return ConversionError(f"{path}: not a whole safetensors file (broken download?): {found}")


def _parse_header(path: Path, header: bytes) -> Mapping[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(pairs)
        if len(entries) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in entries if names.count(name) > 1)
            raise _damaged(path, f"the header names {twice!r} twice")
        return entries

    try:
        parsed = json.loads(header.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"the header is not JSON ({error})") from error
    if not isinstance(parsed, dict):
        raise _damaged(path, "the header is not a JSON object")
    return parsed


def _parse_entry(path: Path, name: str, entry: Any, buffer_start: int) -> SourceTensor:
    if not isinstance(entry, dict):
        raise _damaged(path, f"the header's entry {name!r} is not an object")
    dtype = entry.get("dtype")
    shape, offsets = _sizes(entry.get("shape")), _sizes(entry.get("data_offsets"))
    if dtype not in ITEM_BYTES:
        raise _damaged(path, f"tensor {name} has the unknown type {dtype!r}")
    if shape is None:
        raise _damaged(path, f"tensor {name} has the shape {entry.get('shape')!r}")
    if offsets is None or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _damaged(path, f"tensor {name} has the offsets {entry.get('data_offsets')!r}")
    expected = math.prod(shape) * ITEM_BYTES[dtype]
    if offsets[1] - offsets[0] != expected:
        raise _damaged(
            path,
            f"tensor {name} of type {dtype} and shape {list(shape)} needs {expected} bytes, but "
            f"its offsets span {offsets[1] - offsets[0]}",
        )
    return SourceTensor(name, dtype, shape, path, buffer_start + offsets[0])


def _sizes(value: Any) -> tuple[int, ...] | None:
    """Return a list of whole numbers as such, None where it is anything else."""
    if isinstance(value, list) and all(type(size) is int and size >= 0 for size in value):
        return tuple(value)
    return None


def _check_layout(
    path: Path, tensors: list[SourceTensor], buffer_start: int, file_bytes: int
) -> None:
    """Check that the tensors follow each other without gap or overlap up to the file's end."""
    end = buffer_start
    for tensor in sorted(tensors, key=lambda tensor: (tensor.offset, tensor.rows * tensor.cols)):
        if tensor.offset != end:
            kind = "overlaps the one before it" if tensor.offset < end else "follows a gap"
            raise _damaged(path, f"tensor {tensor.name} {kind} (byte {tensor.offset}, not {end})")
        end += math.prod(tensor.shape) * ITEM_BYTES[tensor.dtype]
    if end != file_bytes:
        raise _damaged(path, f"the header describes {end} bytes, but the file has {file_bytes}")
