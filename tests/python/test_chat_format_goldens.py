"""The official ChatGLM3 prompts, and what the official code reads out of answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chatglm_cpp import _core
from sentencepiece_models import SHARED_GOLDENS, Model, load_model

pytestmark = pytest.mark.skipif(
    not SHARED_GOLDENS.is_dir(), reason="the reference data ../shared/goldens is not here"
)


def real_model() -> Model:
    return load_model(SHARED_GOLDENS / "tokenizers" / "chatglm3" / "tokenizer.model")


def tiny_model(folder: str = "chatglm3") -> Model:
    return load_model(SHARED_GOLDENS / folder / "tokenizer.model", padded_size=1024)


def message(item: dict[str, Any]) -> Any:
    content = item["content"]
    if item.get("tools"):
        content += "\n" + json.dumps(item["tools"], indent=4, ensure_ascii=False)
    return _core.Message(item["role"], content, item.get("metadata", ""), [])


def conversation(case: dict[str, Any]) -> list[Any]:
    query = {"role": case["role"], "content": case["query"]}
    return [message(item) for item in [*case["history"], query]]


@pytest.mark.parametrize("name", ["chatglm3", "tiny_chatglm3"])
def test_prompts(name: str) -> None:
    model = real_model() if name == "chatglm3" else tiny_model()
    chat = _core.ChatFormat("", model.tokenizer)
    assert chat.name == "chatglm3"
    lines = (SHARED_GOLDENS / "tokenizer" / name / "chat.jsonl").read_text().splitlines()
    cases = [json.loads(line) for line in lines]
    assert len(cases) == 15
    for case in cases:
        assert chat.encode(conversation(case)) == case["ids"], case["name"]


@pytest.mark.parametrize("folder", ["chatglm3", "chatglm3_32k", "chatglm3_128k"])
def test_prompts_and_texts_of_the_tiny_checkpoints(folder: str) -> None:
    model = tiny_model(folder)
    chat = _core.ChatFormat("chatglm3", model.tokenizer)
    golden = json.loads((SHARED_GOLDENS / folder / "chat_golden.json").read_text())
    assert golden["cases"]
    for case in golden["cases"]:
        assert chat.encode(conversation(case)) == case["prompt_ids"], case["name"]
        assert sorted(chat.stop_ids) == sorted(case["eos"])
        text = model.tokenizer.decode(case["greedy_ids"], skip_special_tokens=False)
        assert text == case["text"]


@pytest.mark.parametrize("name", ["chatglm3", "tiny_chatglm3"])
def test_answers_are_read_as_the_official_code_reads_them(name: str) -> None:
    model = real_model() if name == "chatglm3" else tiny_model()
    chat = _core.ChatFormat("", model.tokenizer)
    path = SHARED_GOLDENS / "tokenizer" / "chatglm3" / "process_response.jsonl"
    seen = 0
    for line in path.read_text().splitlines():
        case = json.loads(line)
        # The text back to ids: each part is a segment, its first line a text of its own.
        ids: list[int] = []
        for i, part in enumerate(case["output"].split("<|assistant|>")):
            if i > 0:
                ids.append(model.special["<|assistant|>"])
            head, newline, body = part.partition("\n")
            for text in [head + newline, body]:
                plain = text.removeprefix(" ")  # encode() puts it back
                ids += model.tokenizer.encode(plain, add_special_tokens=False)
        parsed = chat.parse(ids)
        content = case["content"]
        if isinstance(content, str):
            assert (parsed.content, parsed.metadata, parsed.tool_calls) == (content, "", [])
        elif case["name"] == "metadata_spaces":
            assert parsed.metadata.strip() == content["name"]
            assert parsed.content.strip() == content["content"].strip()
        else:
            (call,) = parsed.tool_calls
            assert call.name == content["name"]
            if "parameters" in content:
                assert json.loads(call.arguments) == content["parameters"]
            else:
                assert (call.type, call.code) == ("code", "x=1")
            assert parsed.content == case["history_appended"][0]["content"]
        seen += 1
    assert seen == 7


def test_the_official_ids_of_an_answer_come_back_in_the_history() -> None:
    model = real_model()
    chat = _core.ChatFormat("", model.tokenizer)
    path = SHARED_GOLDENS / "tokenizer" / "chatglm3" / "decode.jsonl"
    cases = [json.loads(line) for line in path.read_text().splitlines()]
    (generated,) = (case["ids"] for case in cases if "tool_call" in case["decoded"])
    history = [_core.Message("user", "北京天气", "", [])]
    prompt = chat.encode(history)
    parsed = chat.parse(generated)
    assert parsed.content == "先想一想"
    assert [(c.name, c.arguments) for c in parsed.tool_calls] == [
        ("get_weather", '{"location": "北京"}')
    ]
    following = chat.encode([*history, parsed, _core.Message("observation", "晴", "", [])])
    assert following[: len(prompt) + len(generated)] == prompt + generated
