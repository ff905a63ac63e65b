"""Reads pytorch_model*.bin: a zip archive of a pickle, which is never executed, and raw storages.

Needs no torch. The archive is checked as a whole, then tensors are read straight from their place
in it.
"""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from ..errors import ConversionError
from .pickle_machine import TensorRef, read_state_dict
from .tensor import ITEM_BYTES, SourceTensor

_MAX_PICKLE_BYTES = 64 << 20  # names and shapes only; those of a 6B model are 50 KB
_ENCRYPTED = 0x1
_LOCAL_HEADER = struct.Struct("<4s5HIIIHH")
_PICKLE_PROTOCOL_2 = b"\x80\x02"


def read_torch_bin(path: Path) -> list[SourceTensor]:
    """List the tensors of a file written by ``torch.save``.

    Raises
    ------
    ConversionError
        The file is damaged, incomplete, older than PyTorch 1.6, or holds more than tensors.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(_PICKLE_PROTOCOL_2))
        if start == _PICKLE_PROTOCOL_2:
            raise ConversionError(
                f"{path}: written in PyTorch's format from before version 1.6, which is not "
                "supported; load the file once with PyTorch and save it again, best as safetensors"
            )
        with zipfile.ZipFile(path) as archive:
            return _read_archive(path, archive)
    except ConversionError:
        raise
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        NotImplementedError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
    ) as error:
        raise ConversionError(
            f"{path}: not a whole PyTorch file (broken download?): {error}"
        ) from error
    except OSError as error:
        raise ConversionError(f"{path}: can't be read: {error}") from error


def _read_archive(path: Path, archive: zipfile.ZipFile) -> list[SourceTensor]:
    members = {info.filename: info for info in archive.infolist()}
    if len(members) != len(archive.infolist()):
        raise ConversionError(f"{path}: the archive holds two members of the same name")
    pickles = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise ConversionError(
            f"{path}: not a PyTorch file: expected one data.pkl in the archive, "
            f"found {len(pickles)}"
        )
    folder = pickles[0].removesuffix("data.pkl")
    for info in members.values():
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & _ENCRYPTED:
            raise ConversionError(
                f"{path}: the archive's member {info.filename} is compressed or encrypted, which "
                "PyTorch never writes"
            )
    byte_order = members.get(folder + "byteorder")
    if byte_order is not None and archive.open(byte_order).read(16) != b"little":
        raise ConversionError(f"{path}: written on a big-endian machine, which is not supported")
    if members[pickles[0]].file_size > _MAX_PICKLE_BYTES:
        raise ConversionError(
            f"{path}: data.pkl is {members[pickles[0]].file_size} bytes, more than any state dict "
            f"needs ({_MAX_PICKLE_BYTES})"
        )
    try:
        state = read_state_dict(archive.read(pickles[0]))
    except ConversionError as error:
        raise ConversionError(f"{path}: {error}") from None
    return [_locate(path, folder, members, name, tensor) for name, tensor in state.items()]


def _locate(
    path: Path,
    folder: str,
    members: Mapping[str, zipfile.ZipInfo],
    name: str,
    tensor: TensorRef,
) -> SourceTensor:
    storage = tensor.storage
    item_bytes = ITEM_BYTES[storage.dtype]
    member = members.get(f"{folder}data/{storage.key}")
    if member is None:
        raise ConversionError(f"{path}: the data of tensor {name} (data/{storage.key}) is missing")
    if member.file_size != storage.num_elements * item_bytes:
        raise ConversionError(
            f"{path}: the data of tensor {name} is {member.file_size} bytes; expected "
            f"{storage.num_elements} elements of {item_bytes} bytes"
        )
    if math.prod(tensor.shape) > 0:
        last = tensor.offset + sum(
            (size - 1) * step for size, step in zip(tensor.shape, tensor.strides, strict=True)
        )
        if last >= storage.num_elements:
            raise ConversionError(
                f"{path}: tensor {name} reaches to element {last} of a storage of "
                f"{storage.num_elements}"
            )
    row_major = tensor.strides == _row_major_strides(tensor.shape)
    return SourceTensor(
        name,
        storage.dtype,
        tensor.shape,
        path,
        _data_offset(path, member) + tensor.offset * item_bytes,
        None if row_major else tensor.strides,
    )


def _row_major_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _data_offset(path: Path, member: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin: its local header has a length of its own."""
    with path.open("rb") as file:
        file_bytes = file.seek(0, 2)
        file.seek(member.header_offset)
        signature, *_, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    offset = member.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes
    if signature != b"PK\x03\x04" or offset + member.file_size > file_bytes:
        raise ConversionError(f"{path}: the archive's member {member.filename} is damaged")
    return int(offset)
