"""Builds tiny ChatGLM checkpoints of random weights, with nothing but numpy.

The writers here are the counterpart of the converter's readers and share no code with them.
"""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# name -> (safetensors type, array); bfloat16 arrays are the uint16 of their upper halves.
Tensors = dict[str, tuple[str, Array]]

_TORCH_STORAGE = {
    "F64": "DoubleStorage",
    "F32": "FloatStorage",
    "F16": "HalfStorage",
    "BF16": "BFloat16Storage",
    "I8": "CharStorage",
}


@dataclass
class TinyModel:
    """A configuration in the official key names, small enough for a test."""

    hidden_size: int = 64
    kv_channels: int = 32
    num_attention_heads: int = 2
    multi_query_group_num: int = 1
    ffn_hidden_size: int = 96
    num_layers: int = 2
    padded_vocab_size: int = 320
    seq_length: int = 8192
    layernorm_epsilon: float = 1e-5
    rope_ratio: float = 1
    name: str = "THUDM/chatglm3-6b"
    extra: dict[str, Any] = field(default_factory=dict)

    def config(self) -> dict[str, Any]:
        sizes = {key: value for key, value in vars(self).items() if key not in ("name", "extra")}
        return {
            "_name_or_path": self.name,
            "model_type": "chatglm",
            "architectures": ["ChatGLMModel"],
            "add_bias_linear": False,
            "add_qkv_bias": True,
            "apply_residual_connection_post_layernorm": False,
            "multi_query_attention": True,
            "original_rope": True,
            "post_layer_norm": True,
            "rmsnorm": True,
            "torch_dtype": "float16",
            **sizes,
            **self.extra,
        }

    def weights(self, seed: int | None, dtype: str = "F16") -> Tensors:
        """Weights scaled such that scores and logits spread as in a trained model.

        Without a seed all of a tensor is the same number, which is quick for a large one.
        """
        rng = np.random.default_rng(seed)
        tensors: Tensors = {}

        def add(name: str, shape: tuple[int, ...], scale: float, offset: float = 0.0) -> None:
            if seed is None:
                values = np.full(shape, scale, np.float32)
            else:
                values = (rng.standard_normal(shape) * scale + offset).astype(np.float32)
            tensors[f"transformer.{name}"] = (dtype, encode(values, dtype))

        hidden, ffn = self.hidden_size, self.ffn_hidden_size
        attention = self.num_attention_heads * self.kv_channels
        qkv = attention + 2 * self.multi_query_group_num * self.kv_channels
        add("embedding.word_embeddings.weight", (self.padded_vocab_size, hidden), 1.0)
        add("rotary_pos_emb.inv_freq", (self.kv_channels // 4,), 1.0)
        for index in range(self.num_layers):
            layer = f"encoder.layers.{index}."
            add(layer + "input_layernorm.weight", (hidden,), 0.25, 1.0)
            add(layer + "self_attention.query_key_value.weight", (qkv, hidden), hidden**-0.5 * 1.4)
            add(layer + "self_attention.query_key_value.bias", (qkv,), 0.3)
            add(layer + "self_attention.dense.weight", (hidden, attention), attention**-0.5)
            add(layer + "post_attention_layernorm.weight", (hidden,), 0.25, 1.0)
            add(layer + "mlp.dense_h_to_4h.weight", (2 * ffn, hidden), hidden**-0.5)
            add(layer + "mlp.dense_4h_to_h.weight", (hidden, ffn), ffn**-0.5)
        add("encoder.final_layernorm.weight", (hidden,), 0.25, 1.0)
        add("output_layer.weight", (self.padded_vocab_size, hidden), hidden**-0.5 * 2)
        return tensors


def encode(values: npt.NDArray[np.float32], dtype: str) -> Array:
    """float32 values in a storage type; bfloat16 by cutting."""
    if dtype == "BF16":
        bits: Array = (values.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
        return bits
    return values.astype({"F16": np.float16, "F32": np.float32, "F64": np.float64}[dtype])


def decode(tensor: tuple[str, Array]) -> npt.NDArray[np.float32]:
    """The values of a stored tensor."""
    dtype, array = tensor
    if dtype == "BF16":
        values: npt.NDArray[np.float32] = (array.astype(np.uint32) << np.uint32(16)).view(
            np.float32
        )
        return values
    return array.astype(np.float32)


def write_folder(
    folder: Path, model: TinyModel, tensors: Tensors | None = None, layout: str = "safetensors"
) -> Path:
    """A whole checkpoint; layout is "safetensors" or "bin", with "-sharded" for two files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(model.config()), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"name_or_path": model.name, "tokenizer_class": "ChatGLMTokenizer"}),
        encoding="utf-8",
    )
    write_sentencepiece(folder / "tokenizer.model", "codegeex2" not in model.name)
    tensors = model.weights(seed=1) if tensors is None else tensors
    kind, _, sharded = layout.partition("-")
    stem, suffix, write = {
        "safetensors": ("model", ".safetensors", write_safetensors),
        "bin": ("pytorch_model", ".bin", write_torch_bin),
    }[kind]
    if not sharded:
        write(folder / (stem + suffix), tensors)
        return folder
    names = list(tensors)
    weight_map = {}
    for number, part in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), start=1):
        file = f"{stem}-{number:05d}-of-00002{suffix}"
        write(folder / file, {name: tensors[name] for name in part})
        weight_map.update(dict.fromkeys(part, file))
    (folder / f"{stem}{suffix}.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": weight_map}), encoding="utf-8"
    )
    return folder


def write_safetensors(path: Path, tensors: Tensors) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (dtype, array) in tensors.items():
        header[name] = {
            "dtype": dtype,
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    write_safetensors_file(
        path, json.dumps(header).encode(), b"".join(a.tobytes() for _, a in tensors.values())
    )


def write_safetensors_file(path: Path, header: bytes, data: bytes) -> None:
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


# PyTorch's archive.


def torch_pickle(
    tensors: Mapping[str, tuple[str, Array]],
    views: Mapping[str, tuple[int, tuple[int, ...], tuple[int, ...]]] | None = None,
) -> bytes:
    """The protocol 2 pickle of a state dict; ``views`` overrides (offset, shape, strides)."""

    def text(value: str) -> bytes:
        data = value.encode()
        return b"X" + struct.pack("<I", len(data)) + data

    def integers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"

    ordered_dict = b"ccollections\nOrderedDict\n)R"
    program = b"\x80\x02" + ordered_dict + b"q\x00("
    for key, (name, (dtype, array)) in enumerate(tensors.items()):
        strides = tuple(step // array.itemsize for step in array.strides)
        view = (0, array.shape, strides)
        offset, shape, strides = (views or {}).get(name, view)
        storage = (
            b"(" + text("storage") + f"ctorch\n{_TORCH_STORAGE[dtype]}\n".encode()
            + text(str(key)) + text("cpu") + b"J" + struct.pack("<i", array.size) + b"tQ"
        )  # fmt: skip
        program += (
            text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage
            + b"J" + struct.pack("<i", offset) + integers(shape) + integers(strides)
            + b"\x89" + ordered_dict + b"tR"
        )  # fmt: skip
    # torch adds version numbers as an attribute of the dictionary.
    return program + b"u}" + text("_metadata") + ordered_dict + b"sb."


def write_torch_bin(path: Path, tensors: Tensors) -> None:
    write_torch_archive(path, torch_pickle(tensors), [array for _, array in tensors.values()])


def write_torch_archive(
    path: Path,
    pickle: bytes,
    storages: list[Array],
    compression: int = zipfile.ZIP_STORED,
    byte_order: bytes = b"little",
) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickle)
        archive.writestr("archive/byteorder", byte_order)
        for key, array in enumerate(storages):
            archive.writestr(f"archive/data/{key}", array.tobytes("A"))
        archive.writestr("archive/version", b"3\n")


# SentencePiece.


def field_bytes(number: int, value: int | bytes | float) -> bytes:
    """One field of a protocol buffers message."""
    if isinstance(value, bytes):
        return _varint(number << 3 | 2) + _varint(len(value)) + value
    if isinstance(value, float):
        return _varint(number << 3 | 5) + struct.pack("<f", value)
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def sentencepiece_pieces() -> list[tuple[str, float, int]]:
    """(text, score, type): unknown, <s>, </s>, the bytes, a few pieces that merge."""
    pieces = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)]
    pieces += [(f"<0x{value:02X}>", 0.0, 6) for value in range(256)]
    words = ["▁t", "he", "▁the", "▁a", "in", "你好", "▁你好", "er", "▁in"]
    letters = "▁abcdefghinrst你好"
    ranked = [*words, *letters]
    return pieces + [(piece, -float(rank), 1) for rank, piece in enumerate(ranked)]


def sentencepiece_model(
    pieces: list[tuple[str, float, int]] | None = None,
    *,
    add_dummy_prefix: bool = True,
    algorithm: int = 2,
    collapse_spaces: bool = False,
    byte_fallback: bool = True,
) -> bytes:
    model = b""
    for piece, score, kind in sentencepiece_pieces() if pieces is None else pieces:
        message = field_bytes(1, piece.encode()) + field_bytes(2, score)
        model += field_bytes(1, message + (field_bytes(3, kind) if kind != 1 else b""))
    trainer = field_bytes(3, algorithm) + field_bytes(35, int(byte_fallback))
    normalizer = (
        field_bytes(1, b"identity")
        + field_bytes(3, int(add_dummy_prefix))
        + field_bytes(4, int(collapse_spaces))
    )
    return model + field_bytes(2, trainer) + field_bytes(3, normalizer)


def write_sentencepiece(path: Path, add_dummy_prefix: bool = True) -> None:
    path.write_bytes(sentencepiece_model(add_dummy_prefix=add_dummy_prefix))
