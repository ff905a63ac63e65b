"""The official tokenizers' ids and texts, from the reference data beside the checkout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sentencepiece_models import (
    PREFIX_NAMES,
    ROLE_NAMES,
    SHARED_GOLDENS,
    Model,
    load_model,
)

REAL = {
    name: SHARED_GOLDENS / "tokenizers" / name for name in ("chatglm3", "chatglm2", "codegeex2")
}
TINY = {f"tiny_{name}": SHARED_GOLDENS / name for name in REAL}
FOLDERS = {**REAL, **TINY}

pytestmark = pytest.mark.skipif(
    not SHARED_GOLDENS.is_dir(), reason="the reference data ../shared/goldens is not here"
)


def load_folder(name: str) -> Model:
    special = PREFIX_NAMES + (ROLE_NAMES if name.endswith("chatglm3") else [])
    padded_size = 1024 if name.startswith("tiny_") else 65024
    return load_model(FOLDERS[name] / "tokenizer.model", special=special, padded_size=padded_size)


@pytest.fixture(scope="module", params=list(FOLDERS))
def named_model(request: pytest.FixtureRequest) -> tuple[str, Model]:
    return request.param, load_folder(request.param)


def rows(name: str, file: str) -> list[dict[str, Any]]:
    path: Path = SHARED_GOLDENS / "tokenizer" / name / file
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_texts(named_model: tuple[str, Model]) -> None:
    name, model = named_model
    cases = rows(name, "texts.jsonl")
    # tiny_chatglm2 has the same tokenizer as tiny_chatglm3, and no texts of its own.
    assert len(cases) == (0 if name == "tiny_chatglm2" else 161)
    for case in cases:
        assert model.tokenizer.encode(case["text"], add_special_tokens=False) == case["ids"], case
        decoded = model.tokenizer.decode(case["ids"], skip_special_tokens=False)
        assert decoded == case["decoded"], case


def test_decode(named_model: tuple[str, Model]) -> None:
    name, model = named_model
    cases = rows(name, "decode.jsonl")
    assert len(cases) >= 4
    for case in cases:
        assert model.tokenizer.decode(case["ids"], skip_special_tokens=False) == case["decoded"]


@pytest.mark.parametrize("name", ["chatglm3", "tiny_chatglm3"])
def test_every_prefix_decodes_as_the_official_stream(name: str) -> None:
    model = load_folder(name)
    cases = rows(name, "stream.jsonl")
    assert len(cases) == 3
    for case in cases:
        for count, decoded in enumerate(case["decoded_prefixes"], start=1):
            assert model.tokenizer.decode(case["ids"][:count]) == decoded


@pytest.mark.parametrize("name", ["chatglm2", "codegeex2", "tiny_chatglm2", "tiny_codegeex2"])
def test_raw_completion_has_the_prefix(name: str) -> None:
    model = load_folder(name)
    cases = rows(name, "raw_completion.jsonl")
    assert cases
    for case in cases:
        assert model.tokenizer.encode(case["text"]) == case["ids"]


def test_sizes_and_special_ids(named_model: tuple[str, Model]) -> None:
    name, model = named_model
    path = SHARED_GOLDENS / "tokenizer" / name / "meta.json"
    if not path.is_file():
        pytest.skip(f"no meta.json for {name}")
    meta = json.loads(path.read_text())
    assert model.tokenizer.vocab_size == meta["vocab_size"]
    assert model.tokenizer.prefix_ids == meta["hf_call_prefix"]
    for token, token_id in meta["special"].items():
        assert model.tokenizer.special_id(token) == token_id
        assert model.tokenizer.is_special(token_id)
