"""Writes a plan as a GGUF file, one slice of one tensor at a time.

The container is the `gguf` package's; the order of things is ours: everything goes into a temporary
file beside the target, which takes the target's name only when it is whole and on the disk.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType

from .checkpoint.tensor import Floats, StoredRows, to_float32
from .errors import ConversionError
from .metadata import Metadata, u32
from .plan import Plan, PlannedTensor

# Float32 elements in hand at a time (32 MiB); bounds memory whatever the tensor's size.
_SLICE_ELEMENTS = 8 << 20

Bytes = npt.NDArray[Any]
# (rows, cols) float32, type name -> (rows, row_bytes) uint8
Quantizer = Callable[[Floats, str], npt.NDArray[np.uint8]]
Progress = Callable[[int], object]  # takes the bytes just written


@dataclass(frozen=True)
class _Type:
    ggml: GGMLQuantizationType
    file_type: LlamaFileType  # how a file of mostly this type calls itself
    source_dtype: str | None = None  # checkpoint type with the very same bytes

    @property
    def block_elements(self) -> int:
        return int(gguf.GGML_QUANT_SIZES[self.ggml][0])

    def num_bytes(self, elements: int) -> int:
        block_elements, block_bytes = gguf.GGML_QUANT_SIZES[self.ggml]
        return elements // int(block_elements) * int(block_bytes)


_TYPES = {
    "f32": _Type(GGMLQuantizationType.F32, LlamaFileType.ALL_F32, "F32"),
    "f16": _Type(GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16, "F16"),
    "bf16": _Type(GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16, "BF16"),
    "q8_0": _Type(GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "q4_0": _Type(GGMLQuantizationType.Q4_0, LlamaFileType.MOSTLY_Q4_0),
}
DTYPES = tuple(_TYPES)


def stored_type(tensor: PlannedTensor, dtype: str) -> str:
    """Choose the type that a tensor gets in a file of `dtype`.

    Vectors stay float32, and a matrix whose rows can't be cut into blocks becomes float16.
    """
    if len(tensor.spec.shape) < 2:
        return "f32"
    return dtype if tensor.source.cols % _TYPES[dtype].block_elements == 0 else "f16"


def file_bytes(plan: Plan, dtype: str) -> int:
    """Count the bytes of all tensors of a file, without its header."""
    return sum(_tensor_bytes(tensor, dtype) for tensor in plan.tensors)


def write_gguf(
    plan: Plan, output: Path, dtype: str, quantize: Quantizer, progress: Progress
) -> None:
    """Write a plan's file; `output` appears, or is replaced, only when all of it is on the disk.

    Raises
    ------
    ConversionError
        A tensor can't be read or has values that the type can't hold, or the disk fails.
    """
    if output.is_dir() or not output.parent.is_dir():
        kind = "a folder" if output.is_dir() else f"no folder {output.parent}"
        raise ConversionError(f"{output}: can't be written: found {kind}")
    needed, free = file_bytes(plan, dtype), shutil.disk_usage(output.parent).free
    if needed > free:
        raise ConversionError(
            f"{output}: needs {needed / 2**30:.1f} GiB, but only {free / 2**30:.1f} GiB are free"
        )
    try:
        with _replaced_when_whole(output) as temporary:
            _write(plan, temporary, dtype, quantize, progress)
    except OSError as error:
        raise ConversionError(f"{output}: can't be written: {error}") from error


@contextmanager
def _replaced_when_whole(output: Path) -> Iterator[Path]:
    temporary = output.with_name(f".{output.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        os.replace(temporary, output)
    finally:
        temporary.unlink(missing_ok=True)
    if hasattr(os, "O_DIRECTORY"):  # the new name is only safe once the folder is, too
        folder = os.open(output.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _write(plan: Plan, path: Path, dtype: str, quantize: Quantizer, progress: Progress) -> None:
    writer = GGUFWriter(path, plan.architecture)
    try:
        metadata: Metadata = {
            **plan.metadata,
            "general.file_type": u32(int(_TYPES[dtype].file_type)),
            "general.quantization_version": u32(int(gguf.GGML_QUANT_VERSION)),
        }
        for key, value in metadata.items():
            writer.add_key_value(key, value.data, value.type, value.item_type)
        for tensor in plan.tensors:
            writer.add_tensor_info(
                tensor.spec.name,
                tensor.spec.shape,
                np.dtype(np.float32),  # unused: raw_dtype decides
                _tensor_bytes(tensor, dtype),
                raw_dtype=_TYPES[stored_type(tensor, dtype)].ggml,
            )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        assert writer.fout is not None
        file = writer.fout[0]
        writer.write_padding(file, file.tell())
        for tensor in plan.tensors:
            for block in _encode(tensor, stored_type(tensor, dtype), quantize):
                file.write(block.data)
                progress(block.nbytes)
            writer.write_padding(file, _tensor_bytes(tensor, dtype))
        file.flush()
        os.fsync(file.fileno())
    finally:
        writer.close()


def _tensor_bytes(tensor: PlannedTensor, dtype: str) -> int:
    return _TYPES[stored_type(tensor, dtype)].num_bytes(tensor.source.rows * tensor.source.cols)


def _encode(tensor: PlannedTensor, stored: str, quantize: Quantizer) -> Iterator[Bytes]:
    source, order = tensor.source, tensor.spec.row_order
    rows_per_slice = max(1, _SLICE_ELEMENTS // source.cols)
    if order is not None and len(source.shape) == 1:
        # A vector is one row, so its elements are what an order moves.
        rows = next(source.iter_rows(1))
        yield _encode_rows(tensor, rows[:, order], stored, quantize)
        return
    for rows in source.iter_rows(rows_per_slice, order):
        yield _encode_rows(tensor, rows, stored, quantize)


def _encode_rows(
    tensor: PlannedTensor, rows: StoredRows, stored: str, quantize: Quantizer
) -> Bytes:
    values = to_float32(rows, tensor.source.dtype)
    if not np.isfinite(values).all():
        raise ConversionError(
            f"{tensor.source.path}: tensor {tensor.source.name} holds NaN or infinite values"
        )
    if tensor.source.dtype == _TYPES[stored].source_dtype:
        return np.ascontiguousarray(rows)
    if stored == "f32":
        return values
    if stored == "f16":
        with np.errstate(over="ignore"):
            halves = values.astype("<f2")
        if not np.isfinite(halves).all():
            raise ConversionError(
                f"{tensor.source.path}: tensor {tensor.source.name} holds values beyond float16's "
                "range (65504); choose another type, such as bf16"
            )
        return halves
    if stored == "bf16":
        return _to_bfloat16(values)
    return quantize(values, stored)


def _to_bfloat16(values: Floats) -> npt.NDArray[np.uint16]:
    """Round finite values to the nearest bfloat16, ties to even."""
    bits = values.view(np.uint32)
    rounded = bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))
    halves: npt.NDArray[np.uint16] = (rounded >> np.uint32(16)).astype("<u2")
    return halves
