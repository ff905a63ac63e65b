"""Logits and greedy ids against transformers' GlmForCausalLM, on checkpoints of many shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chatglm_cpp import Pipeline
from chatglm_cpp.convert import convert
from reference_model import reference_logits
from tiny_checkpoint import TinyModel, write_folder

pytestmark = pytest.mark.oracle

pytest.importorskip("torch")
pytest.importorskip("transformers")

from glm_oracle import oracle, oracle_greedy, oracle_logits  # noqa: E402

TOLERANCE = 5e-4


def random_model(seed: int) -> TinyModel:
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([1, 2, 4]))
    heads = groups * int(rng.choice([1, 2, 3]))
    kv_channels = int(rng.choice([32, 64, 128]))
    return TinyModel(
        hidden_size=heads * kv_channels,
        kv_channels=kv_channels,
        num_attention_heads=heads,
        multi_query_group_num=groups,
        ffn_hidden_size=32 * int(rng.integers(3, 16)),
        num_layers=int(rng.integers(1, 4)),
        padded_vocab_size=int(rng.integers(300, 700)),
        seq_length=int(rng.choice([8192, 32768, 131072])),
        layernorm_epsilon=float(rng.choice([1e-5, 1e-6, 1.5625e-7])),
        rope_ratio=float(rng.choice([1, 2.5, 50, 500])),
    )


@pytest.mark.parametrize("seed", range(10))
def test_random_checkpoints(tmp_path: Path, seed: int) -> None:
    model = random_model(seed)
    stored = ("F16", "BF16", "F32")[seed % 3]
    layout = ("safetensors", "bin", "safetensors-sharded", "bin-sharded")[seed % 4]
    weights = model.weights(seed, stored)
    network = oracle(model, weights)
    folder = write_folder(tmp_path / "x", model, weights, layout)
    path = convert(folder, tmp_path / "x.gguf", "f32", progress=False, logn_attention="off")
    pipeline = Pipeline(path, kv_dtype="f32", num_threads=2)
    rng = np.random.default_rng(100 + seed)
    for count in (1, 2, 33, 300):
        ids = [int(index) for index in rng.integers(0, model.padded_vocab_size, count)]
        actual, expected = pipeline.model.logits(ids), oracle_logits(network, ids)
        assert np.abs(actual - expected).max() < TOLERANCE, f"{model}, {count} tokens"
    ids = ids[:20]
    continued = oracle_greedy(network, ids, 16)
    logits = pipeline.model.logits(ids + continued[:-1])[len(ids) - 1 :]
    assert logits.argmax(axis=-1).tolist() == continued


def test_interpolated_positions(tmp_path: Path) -> None:
    model = TinyModel(rope_ratio=16, name="THUDM/chatglm2-6b-32k")
    weights = model.weights(seed=3)
    network = oracle(model, weights, interpolate=True)
    folder = write_folder(tmp_path / "x", model, weights)
    path = convert(folder, tmp_path / "x.gguf", "f32", progress=False)
    ids = list(range(5, 75))
    actual = Pipeline(path, kv_dtype="f32", num_threads=2).model.logits(ids)
    assert np.abs(actual - oracle_logits(network, ids)).max() < TOLERANCE


@pytest.mark.parametrize("seed", range(3))
def test_the_plain_reference_agrees_with_the_oracle(seed: int) -> None:
    model = random_model(seed)
    weights, ids = model.weights(seed), list(range(7, 60))
    expected = oracle_logits(oracle(model, weights), ids)
    assert np.abs(reference_logits(model, weights, ids) - expected).max() < 1e-4
