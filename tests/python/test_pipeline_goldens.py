"""Whole models against the logits and answers of the official code (needs ../shared/goldens)."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from chatglm_cpp import Pipeline
from chatglm_cpp.convert import convert

CHATGLM3 = ["chatglm3", "chatglm3_32k", "chatglm3_128k"]
ARCHITECTURES = [*CHATGLM3, "chatglm2", "chatglm2_32k", "codegeex2"]


def read_tensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    content = path.read_bytes()
    (header_bytes,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + header_bytes])
    types = {"F32": "<f4", "I32": "<i4"}
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] in types:
            begin, end = (8 + header_bytes + offset for offset in entry["data_offsets"])
            values = np.frombuffer(content[begin:end], types[entry["dtype"]])
            tensors[name] = values.reshape(entry["shape"])
    return tensors


@pytest.fixture(scope="module", params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def exact(architecture: str, goldens: Path, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """The golden model with nothing rounded anywhere."""
    output = tmp_path_factory.mktemp("models") / "model.gguf"
    options: dict[str, Any] = {}
    if architecture == "chatglm3_128k":
        options["logn_attention"] = "on"  # the golden folder has no modeling file that would say so
    convert(goldens / architecture, output, "f32", progress=False, **options)
    return Pipeline(output, kv_dtype="f32")


def check_logits(pipeline: Pipeline, golden: dict[str, Any], case: str, tolerance: float) -> None:
    """Feed the prompt and the greedy tokens after it; every known row of logits must agree."""
    prompt, greedy = golden[f"{case}.input_ids"], golden[f"{case}.greedy_ids"]
    expected = {
        name: golden[f"{case}.{name}"]
        for name in ("logits", "last_logits", "decode_logits")
        if f"{case}.{name}" in golden
    }
    logits = pipeline.model.logits([*prompt.tolist(), *greedy.tolist()])
    found = {
        "logits": logits[: len(prompt)],
        "last_logits": logits[len(prompt) - 1],
        "decode_logits": logits[len(prompt) : len(prompt) + len(greedy) - 1],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=0, atol=tolerance, err_msg=name)
    chosen = logits[len(prompt) - 1 : -1].argmax(axis=1)
    np.testing.assert_array_equal(chosen, greedy)


def test_logits(architecture: str, exact: Pipeline, goldens: Path) -> None:
    golden = read_tensors(goldens / architecture / "golden.safetensors")
    check_logits(exact, golden, "short", 5e-4)
    check_logits(exact, golden, "long", 5e-4)
    if architecture == "chatglm3_128k":
        golden["xlong.logn.input_ids"] = golden["xlong.input_ids"]
        check_logits(exact, golden, "xlong.logn", 2e-3)


def cases(goldens: Path, architecture: str) -> list[dict[str, Any]]:
    path = goldens / architecture / "chat_golden.json"
    loaded: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cases"]
    return loaded


def test_answers(architecture: str, exact: Pipeline, goldens: Path) -> None:
    found_any = False
    for case in cases(goldens, architecture):
        options: dict[str, Any] = {"do_sample": False, "max_new_tokens": len(case["greedy_ids"])}
        if architecture in CHATGLM3:
            messages = [*case["history"], {"role": case["role"], "content": case["query"]}]
            assert exact.tokenizer.apply_chat_template(messages) == case["prompt_ids"]
            ids = [
                token_id
                for delta in exact.chat(messages, stream=True, **options)
                for token_id in delta.token_ids
            ]
            reliable = case["reliable_len"]
            assert ids[:reliable] == case["greedy_ids"][:reliable]
        elif case["reliable_len"] == len(case["greedy_ids"]):
            assert exact.tokenizer.encode(case["prompt"]) == case["prompt_ids"]
            assert exact.generate(case["prompt"], **options) == case["text"]
        else:
            continue
        found_any = True
    assert found_any
