"""Converted checkpoints against the plain forward pass, and recorded logits of other frameworks."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from chatglm_cpp import Pipeline
from chatglm_cpp.convert import convert
from reference_model import greedy, reference_logits
from tiny_checkpoint import Tensors, TinyModel, decode, write_folder

# Two independent float32 implementations differ by about 1e-5.
FLOAT_TOLERANCE = 5e-4


def pipeline_of(
    folder: Path, model: TinyModel, weights: Tensors, dtype: str = "f32", **options: Any
) -> Pipeline:
    write_folder(folder, model, weights)
    path = convert(folder, folder / "model.gguf", dtype, progress=False, **options)
    return Pipeline(path, kv_dtype="f32", num_threads=2)


def random_ids(model: TinyModel, count: int, seed: int) -> list[int]:
    rng = np.random.default_rng(seed)
    return [int(index) for index in rng.integers(0, model.padded_vocab_size, count)]


SHAPES = {
    "one group": TinyModel(),
    "two groups": TinyModel(num_attention_heads=4, multi_query_group_num=2, hidden_size=128),
    "wide heads": TinyModel(kv_channels=128, num_attention_heads=2, hidden_size=256),
    "heads wider than hidden": TinyModel(kv_channels=64, num_attention_heads=2, hidden_size=96),
    "a head for each key": TinyModel(multi_query_group_num=2),
    "without grouped attention": TinyModel(
        multi_query_group_num=2, extra={"multi_query_attention": False}
    ),
    "one layer": TinyModel(num_layers=1, padded_vocab_size=333),
    "three layers": TinyModel(num_layers=3, ffn_hidden_size=160),
    "large epsilon": TinyModel(layernorm_epsilon=0.05),
    "rope_ratio 50": TinyModel(rope_ratio=50, seq_length=32768, name="chatglm3-6b-32k"),
    "a fraction": TinyModel(rope_ratio=2.5),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 37])
def test_float_logits(tmp_path: Path, shape: str, count: int) -> None:
    model = SHAPES[shape]
    weights = model.weights(seed=len(shape))
    ids = random_ids(model, count, seed=count)
    actual = pipeline_of(tmp_path / "x", model, weights).model.logits(ids)
    expected = reference_logits(model, weights, ids)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() < FLOAT_TOLERANCE
    assert greedy(actual) == greedy(expected)


def test_interpolated_positions(tmp_path: Path) -> None:
    model = TinyModel(rope_ratio=16, name="THUDM/chatglm2-6b-32k")
    weights, ids = model.weights(seed=4), random_ids(model, 50, seed=4)
    actual = pipeline_of(tmp_path / "x", model, weights).model.logits(ids)
    expected = reference_logits(model, weights, ids, interpolate=True)
    assert np.abs(actual - expected).max() < FLOAT_TOLERANCE
    assert np.abs(actual - reference_logits(model, weights, ids)).max() > 100 * FLOAT_TOLERANCE


def test_logarithmic_query_scaling_beyond_2048(tmp_path: Path) -> None:
    model = TinyModel(rope_ratio=500, seq_length=131072, name="THUDM/chatglm3-6b-128k")
    weights, ids = model.weights(seed=6), random_ids(model, 2200, seed=6)
    scaled = pipeline_of(tmp_path / "on", model, weights).model.logits(ids)
    expected = reference_logits(model, weights, ids, logn=True)
    assert np.abs(scaled - expected).max() < FLOAT_TOLERANCE
    plain = pipeline_of(tmp_path / "off", model, weights, logn_attention="off").model.logits(ids)
    expected = reference_logits(model, weights, ids)
    assert np.abs(plain - expected).max() < FLOAT_TOLERANCE
    # The test has teeth only where the two differ.
    assert np.abs(plain - scaled)[2047:].max() > 10 * FLOAT_TOLERANCE


@pytest.mark.parametrize("stored", ["F16", "BF16"])
@pytest.mark.usefixtures("without_amx")
def test_half_precision_weights(tmp_path: Path, stored: str) -> None:
    model = SHAPES["two groups"]
    weights, ids = model.weights(seed=8, dtype=stored), random_ids(model, 40, seed=8)
    pipeline = pipeline_of(tmp_path / "x", model, weights, stored.lower())
    actual, expected = pipeline.model.logits(ids), reference_logits(model, weights, ids)
    assert np.abs(actual - expected).max() < FLOAT_TOLERANCE


@pytest.mark.parametrize("dtype", ["q8_0", "q4_0"])
def test_quantized_weights(tmp_path: Path, dtype: str) -> None:
    """Against the dequantized weights: what is left is the rounding of activations to 8 bits.

    That rounding is at most 1/254 of the largest of 32 neighbours for each activation, about half a
    percent of a dot product; through a few layers one or two percent of the logits' spread.
    """
    model = replace(SHAPES["two groups"], hidden_size=256, kv_channels=64, ffn_hidden_size=448)
    weights, ids = model.weights(seed=9), random_ids(model, 40, seed=9)
    quantized = gguf.GGMLQuantizationType[dtype.upper()]
    dequantized: Tensors = {}
    for name, tensor in weights.items():
        values = decode(tensor)
        if values.ndim == 2:
            packed = gguf.quants.quantize(values, quantized)
            values = gguf.quants.dequantize(packed, quantized).reshape(values.shape)
        dequantized[name] = ("F32", values)
    actual = pipeline_of(tmp_path / "x", model, weights, dtype).model.logits(ids)
    expected = reference_logits(model, dequantized, ids)
    error = np.sqrt(np.mean((actual - expected) ** 2)) / expected.std()
    assert error < 0.03
    # The exact weights are further away than the bound: it tells the two apart.
    if dtype == "q4_0":
        exact = reference_logits(model, weights, ids)
        assert np.sqrt(np.mean((actual - exact) ** 2)) / expected.std() > 0.03


# Recorded from transformers' GlmForCausalLM by tests/goldens/model/record.py.


def recorded(repository: Path) -> dict[str, Any]:
    with np.load(repository / "tests" / "goldens" / "model" / "logits.npz") as file:
        return dict(file)


RECORDED = {
    "plain": TinyModel(hidden_size=128, num_attention_heads=4, multi_query_group_num=2),
    "ratio": TinyModel(rope_ratio=50, num_layers=3, ffn_hidden_size=160),
    "interpolated": TinyModel(rope_ratio=16, name="THUDM/chatglm2-6b-32k"),
}


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_logits(repository: Path, tmp_path: Path, name: str) -> None:
    model, golden = RECORDED[name], recorded(repository)
    weights = model.weights(seed=11)
    digest = hashlib.sha256(b"".join(array.tobytes() for _, array in weights.values())).digest()
    assert digest == golden[f"{name}.weights_sha256"].tobytes(), "numpy draws other numbers now"
    ids, expected = golden[f"{name}.ids"].tolist(), golden[f"{name}.logits"]
    reference = reference_logits(model, weights, ids, interpolate=name == "interpolated")
    assert np.abs(reference - expected).max() < 1e-4
    actual = pipeline_of(tmp_path / "x", model, weights).model.logits(ids)
    assert np.abs(actual - expected).max() < FLOAT_TOLERANCE
    assert greedy(actual) == greedy(expected)
