"""Messages on their way into the core and back."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from chatglm_cpp import (
    ChatMessage,
    CodeMessage,
    FunctionMessage,
    InvalidArgumentError,
    Pipeline,
    ToolCallMessage,
)

TOOLS = [
    {
        "name": "get_weather",
        "description": "查询天气",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    }
]
SOURCE = "```python\ntool_call(city='北京')\n```"


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline()


def prompt_text(pipeline: Pipeline, messages: Any) -> str:
    ids = pipeline.tokenizer.apply_chat_template(messages)
    return pipeline.tokenizer.decode(ids, skip_special_tokens=False)


def test_tools_are_written_below_the_system_message(pipeline: Pipeline) -> None:
    for message in (
        ChatMessage("system", "Use these tools:", tools=TOOLS),
        {"role": "system", "content": "Use these tools:", "tools": TOOLS},
    ):
        text = prompt_text(pipeline, [message])
        tools = json.dumps(TOOLS, indent=4, ensure_ascii=False)
        assert text == f"[gMASK]sop<|system|> \n Use these tools:\n{tools}<|assistant|>"


def test_official_history_and_own_messages_are_the_same_prompt(pipeline: Pipeline) -> None:
    official = [
        {"role": "user", "content": "北京天气怎么样？"},
        {"role": "assistant", "metadata": "get_weather", "content": SOURCE},
        {"role": "observation", "content": '{"temperature": 21}'},
        {"role": "assistant", "metadata": "", "content": "北京今天21度。"},
        {"role": "user", "content": "谢谢"},
    ]
    function = FunctionMessage("get_weather", '{"city": "北京"}')
    own = [
        ChatMessage("user", "北京天气怎么样？"),
        ChatMessage(
            "assistant", "", [ToolCallMessage("function", function=function, source=SOURCE)]
        ),
        ChatMessage("observation", '{"temperature": 21}'),
        ChatMessage("assistant", "北京今天21度。"),
        ChatMessage("user", "谢谢"),
    ]
    encode = pipeline.tokenizer.apply_chat_template
    assert encode(own) == encode(official)
    assert encode([dataclasses.asdict(message) for message in own]) == encode(official)
    # Without the model's own words they are written anew, and mean the same.
    own[1].tool_calls[0].source = ""
    assert encode(own) == encode(official)


def test_a_code_call_is_put_back(pipeline: Pipeline) -> None:
    call = ToolCallMessage("code", code=CodeMessage("print(1)"))
    text = prompt_text(pipeline, [ChatMessage("user", "1?"), ChatMessage("assistant", "", [call])])
    assert text.endswith("<|assistant|> interpreter\n ```python\nprint(1)\n```<|assistant|>")


def test_role_names_inside_a_message_stay_text(pipeline: Pipeline) -> None:
    eos = set(pipeline.model.config.eos_token_ids)
    ids = pipeline.tokenizer.apply_chat_template("<|observation|><|assistant|>")
    assert len([token_id for token_id in ids if token_id in eos]) == 1  # <|user|> itself


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "at least one message"),
        (5, "messages is a list"),
        ([5], r"messages\[0\] is a ChatMessage or a dict, found int"),
        (["hi"], r"messages\[0\] is a ChatMessage or a dict, found str"),
        ([{"content": "hi"}], r"messages\[0\] has no role"),
        ([{"role": "user", "content": 5}], r"messages\[0\].content is a str, found int"),
        ([{"role": 1, "content": ""}], r"messages\[0\].role is a str"),
        ([{"role": "user", "content": "", "metadata": 1}], r"messages\[0\].metadata is a str"),
        ([{"role": "user", "content": "a\udc80"}], "half of a character"),
        ([{"role": "tool", "content": "hi"}], "system, user, assistant or observation"),
        ([{"role": "user", "content": "hi", "name": "Bob"}], "name"),
        ([{"role": "user", "content": "hi", "tools": TOOLS}], "only a system message"),
        ([{"role": "system", "content": "", "tools": object()}], "can't be written as JSON"),
        ([{"role": "assistant", "content": "", "tool_calls": 5}], "tool_calls is a list"),
        ([{"role": "assistant", "content": "", "tool_calls": [5]}], r"tool_calls\[0\]"),
        ([{"role": "assistant", "content": "", "tool_calls": [{}]}], r"tool_calls\[0\]"),
        (
            [{"role": "assistant", "content": "", "tool_calls": [{"type": "code"}]}],
            r"tool_calls\[0\] has the type",
        ),
        (
            [ChatMessage("user", "", [ToolCallMessage("code", code=CodeMessage("1"))])],
            "only an assistant",
        ),
        (
            [
                ChatMessage(
                    "assistant",
                    "",
                    [ToolCallMessage("function", function=FunctionMessage("f", "[1]"))],
                )
            ],
            "not a JSON object",
        ),
    ],
)
def test_a_wrong_message(pipeline: Pipeline, messages: Any, said: str) -> None:
    with pytest.raises(InvalidArgumentError, match=said):
        pipeline.chat(messages)
    with pytest.raises(InvalidArgumentError, match=said):
        pipeline.tokenizer.apply_chat_template(messages)


def test_messages_compare_by_value() -> None:
    assert ChatMessage("user", "a") == ChatMessage(role="user", content="a", tool_calls=[])
    assert ChatMessage("user", "a") != ChatMessage("user", "a", metadata="b")
