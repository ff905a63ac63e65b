"""Whole models against the reference data beside the repository: logits, greedy ids, answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from chatglm_cpp import Pipeline
from chatglm_cpp.convert import convert

FOLDERS = (
    "chatglm3",
    "chatglm3_32k",
    "chatglm3_128k",
    "chatglm2",
    "chatglm2_32k",
    "codegeex2",
    "chatglm_6b",
    "glm4_9b",
    "glm_hf",
    "glm4_hf",
)

Arrays = dict[str, npt.NDArray[Any]]
Load = Callable[..., Pipeline]


def read_golden(path: Path) -> Arrays:
    """The arrays of a golden.safetensors; its types are numpy's."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    types = {"F32": np.float32, "I32": np.int32, "U8": np.uint8}
    arrays = {}
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__":
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            flat = np.frombuffer(data[begin:end], types[entry["dtype"]])
            arrays[name] = flat.reshape(entry["shape"])
    return arrays


@pytest.fixture(scope="module")
def load(goldens: Path, device: str, tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Converts a golden checkpoint and opens it; each kind once."""
    opened: dict[tuple[Any, ...], Pipeline] = {}
    folder = tmp_path_factory.mktemp("goldens")

    def open_once(arch: str, dtype: str = "f32", logn: str = "auto") -> Pipeline:
        key = (arch, dtype, logn)
        if key not in opened:
            path = folder / ("-".join(key) + ".gguf")
            convert(goldens / arch, path, dtype, logn_attention=logn, progress=False)
            opened[key] = Pipeline(path, kv_dtype="f32", num_threads=2, device=device)
        return opened[key]

    return open_once


def greedy_continuation(pipeline: Pipeline, prompt: list[int], ids: list[int]) -> list[int]:
    """What the model says after the prompt and after each of the ids but the last."""
    logits = pipeline.model.logits(prompt + ids[:-1])
    return [int(index) for index in logits[len(prompt) - 1 :].argmax(axis=-1)]


def check(pipeline: Pipeline, golden: Arrays, part: str, result: str, tolerance: float) -> None:
    prompt = golden[f"{part}.input_ids"].tolist()
    ids = golden[f"{result}.greedy_ids"].tolist()
    logits = pipeline.model.logits(prompt + ids[:-1])
    for name, rows in (
        ("logits", logits[: len(prompt)]),
        ("last_logits", logits[len(prompt) - 1]),
        ("decode_logits", logits[len(prompt) :]),
    ):
        expected = golden.get(f"{result}.{name}")
        if expected is not None:
            assert np.abs(rows - expected).max() < tolerance, f"{result}.{name}"
    assert logits[len(prompt) - 1 :].argmax(axis=-1).tolist() == ids


@pytest.mark.parametrize("arch", FOLDERS)
@pytest.mark.parametrize("part", ["short", "long"])
def test_float_logits(goldens: Path, load: Load, arch: str, part: str) -> None:
    golden = read_golden(goldens / arch / "golden.safetensors")
    suggested = json.loads((goldens / arch / "golden.json").read_text(encoding="utf-8"))
    tolerance = suggested["suggested_tolerance"]["logits_max_abs_fp32"]
    assert tolerance <= 5e-4
    check(load(arch), golden, part, part, tolerance)


def test_frequencies_as_the_official_code_rounds_them(goldens: Path, load: Load) -> None:
    """ChatGLM-6B: the goldens with exact frequencies are farther away than the tolerance."""
    golden = read_golden(goldens / "chatglm_6b" / "golden.safetensors")
    pipeline = load("chatglm_6b")
    for part in ("short", "long"):
        logits = pipeline.model.logits(golden[f"{part}.input_ids"].tolist())
        name, rows = ("logits", logits) if part == "short" else ("last_logits", logits[-1])
        assert 5e-4 < np.abs(rows - golden[f"exact_rope.{part}.{name}"]).max() < 0.02, part


@pytest.mark.parametrize(("result", "asked"), [("logn", "auto"), ("plain", "off")])
def test_beyond_2048_positions(goldens: Path, load: Load, result: str, asked: str) -> None:
    golden = read_golden(goldens / "chatglm3_128k" / "golden.safetensors")
    pipeline = load("chatglm3_128k", logn=asked)
    check(pipeline, golden, "xlong", f"xlong.{result}", 2e-3)
    other = golden[f"xlong.{'plain' if result == 'logn' else 'logn'}.last_logits"]
    logits = pipeline.model.logits(golden["xlong.input_ids"].tolist())
    assert np.abs(logits[-1] - other).max() > 0.1


@pytest.mark.parametrize("arch", ["chatglm3", "codegeex2", "glm4_9b", "glm4_hf"])
@pytest.mark.usefixtures("without_amx")
def test_weights_as_stored(goldens: Path, load: Load, arch: str) -> None:
    """float16 and bfloat16 files hold the checkpoint's very numbers."""
    golden = read_golden(goldens / arch / "golden.safetensors")
    pipeline = load(arch, "f16" if arch == "chatglm3" else "bf16")
    check(pipeline, golden, "short", "short", 5e-4)
    check(pipeline, golden, "long", "long", 5e-4)


@pytest.mark.parametrize("dtype", ["q8_0", "q4_0"])
def test_quantized_logits(goldens: Path, load: Load, dtype: str) -> None:
    """The goldens quantize the weights only; our kernels round activations to 8 bits, too.

    That rounding moves the logits, whose spread is 2, by 0.04 to 0.05; llama.cpp, which rounds
    alike, lies at 0.04 to 0.06.
    """
    golden = read_golden(goldens / "chatglm3" / "quant_golden.safetensors")
    prompts = read_golden(goldens / "chatglm3" / "golden.safetensors")
    pipeline = load("chatglm3", dtype)
    for part, name in (("short", "logits"), ("long", "last_logits")):
        logits = pipeline.model.logits(prompts[f"{part}.input_ids"].tolist())
        expected = golden[f"{dtype.upper()}.{part}.{name}"]
        difference = (logits if name == "logits" else logits[-1]) - expected
        assert np.sqrt(np.mean(difference**2)) < 0.08, part
        assert np.abs(difference).max() < 0.35, part
        ids = golden[f"{dtype.upper()}.{part}.greedy_ids"].tolist()
        prompt = prompts[f"{part}.input_ids"].tolist()
        said = greedy_continuation(pipeline, prompt, ids)
        summary = json.loads((goldens / "chatglm3" / "quant_golden.json").read_text("utf-8"))
        margins = summary["types"][dtype.upper()][f"{part}_margins"]
        for mine, theirs, margin in zip(said, ids, margins, strict=True):
            assert mine == theirs or margin < 0.3


def conversation(case: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages of a case; the families without roles have pairs in their history."""
    messages = []
    for item in case["history"]:
        if isinstance(item, dict):
            messages.append(item)
        else:
            messages += [
                {"role": role, "content": text}
                for role, text in zip(("user", "assistant"), item, strict=True)
            ]
    return [*messages, {"role": case.get("role", "user"), "content": case["query"]}]


@pytest.mark.parametrize("arch", FOLDERS)
def test_greedy_answers(goldens: Path, load: Load, arch: str) -> None:
    content = json.loads((goldens / arch / "chat_golden.json").read_text(encoding="utf-8"))
    pipeline = load(arch)
    for case in content["cases"]:
        stream: Iterator[Any]
        if "query" in case or "messages" in case:
            messages = case.get("messages") or conversation(case)
            assert pipeline.tokenizer.apply_chat_template(messages) == case["prompt_ids"]
            stream = pipeline.chat(
                messages, do_sample=False, max_new_tokens=content["n_generate"], stream=True
            )
        elif "prompt" in case:
            assert pipeline.tokenizer.encode(case["prompt"]) == case["prompt_ids"]
            stream = pipeline.generate(
                case["prompt"], do_sample=False, max_new_tokens=content["n_generate"], stream=True
            )
        else:
            pytest.fail(f"a case of an unknown form: {sorted(case)}")
        count = case["reliable_len"]
        ids = greedy_continuation(pipeline, case["prompt_ids"], case["greedy_ids"])
        assert ids[:count] == case["greedy_ids"][:count]
        text = "".join(delta if isinstance(delta, str) else delta.content for delta in stream)
        if count == len(case["greedy_ids"]) and "prompt" in case:
            expected = case["text"].strip() if "query" in case else case["text"]
            assert (text.strip() if "query" in case else text) == expected, case.get("name")
