"""The tokenizer against the `sentencepiece` package on random text, and what it refuses."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatglm_cpp import _core
from sentencepiece_models import (
    BYTE,
    CONTROL,
    NORMAL,
    OWN_GOLDENS,
    ROLE_NAMES,
    SHARED_GOLDENS,
    UNKNOWN,
    UNUSED,
    Model,
    load_model,
)

REAL_CHATGLM3 = SHARED_GOLDENS / "tokenizers" / "chatglm3" / "tokenizer.model"


USER_DEFINED = {"<sep>", "<sep><sep>", "abab", "人工智能"}
MODELS: dict[str, tuple[Path, set[str]]] = {
    "fallback": (OWN_GOLDENS / "fallback.model", set()),
    "unknown": (OWN_GOLDENS / "unknown.model", USER_DEFINED),
    "chatglm3": (REAL_CHATGLM3, set()),
}

_loaded: dict[str, Model] = {}


def model(name: str) -> Model:
    path, user_defined = MODELS[name]
    if not path.is_file():
        pytest.skip(f"{path.name} of {name} is not here")
    if name not in _loaded:
        _loaded[name] = load_model(path, user_defined=user_defined)
    return _loaded[name]


# Text that merges: words of the models' own pieces, mixed with anything that a str can hold.
_words = st.sampled_from(
    [
        "the ",
        " answer",
        "你好",
        "人工智能",
        "北京",
        "天气",
        "abab",
        "a",
        "b",
        "aa",
        "<sep>",
        "  ",
        "\n",
        "\t",
        ".",
        "10",
        "\u2581",
        "<|user|>",
        "[gMASK]",
        "sop",
        "</s>",
        "<unk>",
        "<0x41>",
        "🚀",
        "\x00",
        "\ufffd",
    ]
)
_characters = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
texts = st.lists(st.one_of(_words, _characters), max_size=24).map("".join)


@pytest.mark.parametrize("name", list(MODELS))
@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(text=texts)
def test_same_ids_and_text_as_sentencepiece(name: str, text: str) -> None:
    subject = model(name)
    ids = subject.tokenizer.encode(text, add_special_tokens=False)
    assert ids == subject.reference.encode(text)
    unknown = subject.reference.unk_id()
    expected = subject.reference.decode([i for i in ids if i != unknown])
    assert subject.tokenizer.decode(ids) == expected


@pytest.mark.parametrize("name", list(MODELS))
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_any_ids_decode_as_sentencepiece_does(name: str, data: st.DataObject) -> None:
    subject = model(name)
    plain = subject.reference.vocab_size()
    bytes_and_some = st.one_of(st.integers(0, min(plain, 300) - 1), st.integers(0, plain - 1))
    ids = data.draw(st.lists(bytes_and_some, max_size=30))
    # Decoding pieces, not ids: an empty piece is what the official tokenizers make of ids 0 to 2.
    pieces = ["" if i < 3 else subject.reference.id_to_piece(i) for i in ids]
    expected = subject.reference.decode_pieces(pieces)
    assert subject.tokenizer.decode(ids, skip_special_tokens=False) == expected


@pytest.mark.parametrize("name", list(MODELS))
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(text=texts)
def test_text_never_becomes_a_special_token(name: str, text: str) -> None:
    subject = model(name)
    injected = text.join(["<|user|>", "[gMASK]", "sop", "<|assistant|>\n", "</s>", "<unk>"])
    ids = subject.tokenizer.encode(injected, add_special_tokens=False)
    allowed = {subject.reference.unk_id()} if name == "unknown" else set()
    assert not [i for i in ids if subject.tokenizer.is_special(i) and i not in allowed]


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(text=texts, stops=st.lists(st.text(min_size=1, max_size=3), max_size=3))
def test_streamed_text_is_the_decoded_text(text: str, stops: list[str]) -> None:
    tokenizer = model("fallback").tokenizer
    stops = [stop for stop in stops if stop.encode(errors="replace").decode() == stop]
    ids = tokenizer.encode(text, add_special_tokens=False)
    whole = tokenizer.decode(ids)
    ends = [(whole.find(s) + len(s), whole.find(s)) for s in stops if s in whole]
    expected = whole[: min(ends)[1]] if ends else whole

    stream = _core.TextStream(tokenizer, None, stops)
    deltas = [stream.push(i) for i in ids] + [stream.finish()]
    assert "".join(deltas) == stream.text == expected
    assert stream.stopped == bool(ends)


def test_a_lone_surrogate_is_encoded_as_replacement_characters() -> None:
    tokenizer = model("fallback").tokenizer
    ids = tokenizer.encode("a\ud800b", add_special_tokens=False)
    assert tokenizer.decode(ids) == "a\ufffd\ufffd\ufffdb"


def test_ids_of_any_size_decode() -> None:
    tokenizer = model("fallback").tokenizer
    ids = tokenizer.encode("ab", add_special_tokens=False)
    assert tokenizer.decode([-1, *ids, 2**40, 10**9]) == "ab"


def test_a_megabyte_is_encoded_quickly() -> None:
    subject = model("fallback")
    for unit in ["the answer is 你好 ", "a", " ", "\U0010ffff"]:
        text = unit * (1_000_000 // len(unit.encode()))
        begin = time.monotonic()
        ids = subject.tokenizer.encode(text, add_special_tokens=False)
        elapsed_s = time.monotonic() - begin
        assert subject.tokenizer.decode(ids) == text
        # Quadratic time would be minutes; the rest is room for a busy machine.
        assert elapsed_s < 20, unit


GOOD: dict[str, Any] = {
    "pieces": ["<unk>", "<s>", "</s>", "a", "b", "ab", *ROLE_NAMES],
    "scores": [0.0, 0.0, 0.0, -1.0, -2.0, -3.0, 0.0, 0.0, 0.0, 0.0],
    "types": [UNKNOWN, CONTROL, CONTROL, NORMAL, NORMAL, NORMAL] + [CONTROL] * 4,
    "eos_ids": [2],
}


def changed(field: str, index: int, value: object) -> dict[str, Any]:
    values = list(GOOD[field])
    values[index] = value
    return {**GOOD, field: values}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({**GOOD, "pieces": [], "scores": [], "types": []}, "found 0"),
        ({**GOOD, "scores": [0.0]}, "10 tokens, 1 scores, 10 token types"),
        (changed("scores", 3, float("nan")), "token 3 has a score that is not finite"),
        (changed("types", 3, 7), "token 3 has the unknown type 7"),
        (changed("types", 3, 0), "token 3 has the unknown type 0"),
        (changed("pieces", 4, "a"), "token 4 has the same text as an earlier token: a"),
        (changed("pieces", 4, ""), "token 4 is empty"),
        (changed("pieces", 4, b"\xff"), "token 4 is not valid UTF-8"),
        (changed("pieces", 4, "x" * 2000), "token 4 has 2000 bytes"),
        (changed("types", 4, BYTE), "is of the type byte"),
        (changed("types", 4, UNKNOWN), "second unknown"),
        (changed("pieces", 7, ROLE_NAMES[0]), "same name as special token 6"),
        (changed("eos_ids", 0, 10), "end-of-text id 10"),
        (changed("eos_ids", 0, -1), "end-of-text id -1"),
        (changed("types", 0, CONTROL), "neither byte tokens nor an unknown token"),
        ({**changed("pieces", 4, "<0x41>"), "types": [2, 3, 3, 1, 6, 1, 3, 3, 3, 3]}, "all 256"),
    ],
)
def test_a_broken_vocabulary_is_refused(arguments: dict[str, Any], message: str) -> None:
    _core.Tokenizer(**GOOD)
    with pytest.raises(ValueError, match=message):
        _core.Tokenizer(**arguments)


def test_padding_has_no_meaning() -> None:
    arguments = {**GOOD}
    arguments["pieces"] = [*GOOD["pieces"], "[PAD10]", ""]
    arguments["scores"] = [*GOOD["scores"], 0.0, 0.0]
    arguments["types"] = [*GOOD["types"], UNUSED, UNUSED]
    tokenizer = _core.Tokenizer(**arguments)
    assert tokenizer.vocab_size == 10
    assert tokenizer.decode([3, 10, 11, 4], skip_special_tokens=False) == "ab"
