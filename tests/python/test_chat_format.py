"""Tool calls in answers: read as Python reads them, refused where they are more than data."""

from __future__ import annotations

import ast
import json
import keyword
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatglm_cpp import UnsupportedModelError, _core
from sentencepiece_models import OWN_GOLDENS, load_model

MODEL = load_model(OWN_GOLDENS / "fallback.model")
CHAT = _core.ChatFormat("chatglm3", MODEL.tokenizer)


def answer_ids(name: str, source: str) -> list[int]:
    ids: list[int] = []
    for text in (name + "\n", source):
        ids += MODEL.tokenizer.encode(text, add_special_tokens=False)
    return ids


def parse_call(source: str) -> Any | None:
    """The arguments of the call, or None where it stays text."""
    fenced = f"```python\n{source}\n```"
    parsed = CHAT.parse(answer_ids("tool", fenced))
    if not parsed.tool_calls:
        assert (parsed.metadata, parsed.content) == ("tool", fenced)
        return None
    (call,) = parsed.tool_calls
    assert (call.type, call.name, call.source, parsed.content) == ("function", "tool", fenced, "")
    return json.loads(call.arguments)


names = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: not keyword.iskeyword(name)
)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
finite = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), finite, text)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(text, inner, max_size=3),
    ),
    max_leaves=8,
)
arguments = st.dictionaries(names, values, max_size=4)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(arguments=arguments)
def test_what_repr_writes_is_read_back(arguments: dict[str, Any]) -> None:
    source = "tool_call(" + ", ".join(f"{k}={v!r}" for k, v in arguments.items()) + ")"
    parsed = CHAT.parse(answer_ids("tool", f"```python\n{source}\n```"))
    (call,) = parsed.tool_calls
    assert call.arguments == json.dumps(arguments, ensure_ascii=False)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(arguments=st.dictionaries(text, values, max_size=4))
def test_a_call_of_our_own_is_written_as_python_and_read_back(arguments: dict[str, Any]) -> None:
    call = _core.ToolCall("function", "tool", json.dumps(arguments), "", "")
    ids = CHAT.encode([_core.Message("assistant", "", "", [call])])
    generated = ids[len(MODEL.tokenizer.prefix_ids) + 1 : -1]
    (back,) = CHAT.parse(generated).tool_calls
    assert json.loads(back.arguments) == json.loads(json.dumps(arguments))
    if any(map(keyword.iskeyword, arguments)):
        return  # written as class=1, which Python would not read
    tree = ast.parse(back.source.removeprefix("```python\n").removesuffix("\n```"), mode="eval")
    assert isinstance(tree.body, ast.Call)
    for argument in tree.body.keywords:
        ast.literal_eval(argument.value)


@settings(max_examples=500, deadline=None, derandomize=True, database=None)
@given(
    source=st.text(
        "tool_call(a='x\"u\\n0123.eE-+_*#,:[]{})TrueNonFalse \n\\\u4f60", max_size=30
    ).map(lambda tail: "tool_call(" + tail)
)
def test_what_is_read_is_what_python_would_read(source: str) -> None:
    read = parse_call(source)
    if read is None:
        return
    try:
        call = ast.parse(source.strip(), mode="eval").body
        assert isinstance(call, ast.Call)
        expected: dict[str, Any] = {}
        for argument in call.keywords:
            value = ast.literal_eval(argument.value)
            expected.update(value if argument.arg is None else {argument.arg: value})
    except (SyntaxError, ValueError):
        # We read some calls that Python does not: keywords as names (class=1).
        return
    assert read == json.loads(json.dumps(expected))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("tool_call()", {}),
        ("tool_call(a=1,)", {"a": 1}),
        (" tool_call ( a = 1 ,\n b = 'x' ) # done", {"a": 1, "b": "x"}),
        ("tool_call(a='x' \"y\" u'z')", {"a": "xyz"}),
        ("tool_call(a='''x\n'y' ''')", {"a": "x\n'y' "}),
        (r"tool_call(a='\x41\u4f60\101\n\t\\\'\q')", {"a": "A你A\n\t\\'\\q"}),
        (r"tool_call(a='\ud83d\ude00\U0001F600')", {"a": "😀😀"}),
        ("tool_call(a='x\\\ny')", {"a": "xy"}),
        ("tool_call(a=-1, b=+2, c=- 3, d=-0)", {"a": -1, "b": 2, "c": -3, "d": 0}),
        ("tool_call(a=1_000, b=0xFF, c=0o17, d=0b101)", {"a": 1000, "b": 255, "c": 15, "d": 5}),
        (
            "tool_call(a=1., b=.5, c=1e5, d=1_0.0_1e-1_0)",
            {"a": 1.0, "b": 0.5, "c": 1e5, "d": 10.01e-10},
        ),
        ("tool_call(a=123456789012345678901234567890)", {"a": 123456789012345678901234567890}),
        ("tool_call(a=0x" + "f" * 100 + ")", {"a": 16**100 - 1}),
        ("tool_call(a=(1), b=(1,), c=(), d=(1, 2))", {"a": 1, "b": [1], "c": [], "d": [1, 2]}),
        (
            "tool_call(a={1: True, 'x': None, None: [False]})",
            {"a": {"1": True, "x": None, "null": [False]}},
        ),
        ("tool_call(**{'a-b': 1}, c=2)", {"a-b": 1, "c": 2}),
        ("tool_call(城市='北京', class='x')", {"城市": "北京", "class": "x"}),
        ("tool_call(a=" + "[" * 63 + "]" * 63 + ")", None),
    ],
)
def test_calls_that_are_read(source: str, expected: Any) -> None:
    read = parse_call(source)
    assert read is not None
    if expected is not None:
        assert read == expected


@pytest.mark.parametrize(
    "source",
    [
        "tool_call(a=__import__('os').system('true'))",
        "tool_call(a=open('/etc/passwd'))",
        "__import__('os').system('true')",
        "tool_call(a=1)\nimport os",
        "tool_call(a=1); tool_call(b=2)",
        "tool_call(a=x)",
        "tool_call(a=1+1)",
        "tool_call(a='x' % 1)",
        "tool_call(a='x'.upper())",
        "tool_call(a=[x for x in y])",
        "tool_call(a={1, 2})",
        "tool_call(a=f'{x}')",
        "tool_call(a=r'x')",
        "tool_call(a=b'x')",
        "tool_call(a=1j)",
        "tool_call(a=1e999)",
        "tool_call(a=inf)",
        "tool_call(a=nan)",
        "tool_call(a=012)",
        "tool_call(a=1__0)",
        "tool_call(a=1_)",
        "tool_call(a=0x)",
        "tool_call(a=1.2.3)",
        "tool_call(a=--1)",
        "tool_call(a=-True)",
        "tool_call(a=1, a=2)",
        "tool_call(a=1, **{'a': 2})",
        "tool_call(a={'x': 1, 'x': 2})",
        "tool_call(a={[]: 1})",
        "tool_call('positional')",
        "tool_call(**x)",
        "tool_call(*[1])",
        "tool_call(a=1 b=2)",
        "tool_call(,)",
        "tool_call(a=)",
        "tool_call(a='x)",
        "tool_call(a='x\ny')",
        "tool_call(a='\\x4')",
        "tool_call(a='\\ud800')",
        "tool_call(a='\\U00110000')",
        "tool_call(a='\\N{BULLET}')",
        "tool_call(a=1",
        "tool_call",
        "toolcall(a=1)",
        "tool_calls(a=1)",
        "",
        "tool_call(a=" + "[" * 65 + "]" * 65 + ")",
        "tool_call(a=" + "[" * 100_000 + ")",
        "tool_call(a=0x" + "f" * 5000 + ")",
        "tool_call(a=" + "1" * 5000 + ")",
    ],
)
def test_calls_that_stay_text(source: str) -> None:
    assert parse_call(source) is None


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(content=text, thought=text, code=text)
def test_the_history_continues_the_generated_ids(content: str, thought: str, code: str) -> None:
    assistant = MODEL.special["<|assistant|>"]
    history = [_core.Message("user", "q", "", [])]
    prompt = CHAT.encode(history)
    answers = [
        answer_ids("", content.strip()),
        [
            *answer_ids("", thought.strip() + "x"),
            assistant,
            *answer_ids("get_weather", f"```python\ntool_call(a={content!r})\n```"),
            assistant,
            *answer_ids("interpreter", f"```python\n{code}\n```"),
        ],
    ]
    for generated in answers:
        if "\u2581" in content + thought + code or "[[" in content + thought:
            continue  # "▁" becomes a space: the text no longer spells the same ids
        following = CHAT.encode([*history, CHAT.parse(generated), *history])
        assert following[: len(prompt) + len(generated)] == prompt + generated


def test_parts_of_an_answer() -> None:
    assistant = MODEL.special["<|assistant|>"]
    code = answer_ids("interpreter", "```python\nx = 1\n```")
    ids = [*answer_ids("", "first"), assistant, *code]
    parsed = CHAT.parse(ids)
    assert (parsed.role, parsed.content, parsed.metadata) == ("assistant", "first", "")
    (call,) = parsed.tool_calls
    assert (call.type, call.name, call.code) == ("code", "interpreter", "x = 1")
    assert CHAT.parse([]).content == ""
    assert CHAT.parse([assistant, assistant]).tool_calls == []
    headless = MODEL.tokenizer.encode("Sure, here it is:\n1. the answer", add_special_tokens=False)
    assert CHAT.parse(headless).content == "Sure, here it is:\n1. the answer"


def test_the_header_is_not_streamed() -> None:
    for content, streamed in [("the answer\n 你好 ", "the answer\n 你好 "), ("  x", "x")]:
        ids = answer_ids("", content)
        for format_, expected in [(CHAT, streamed), (None, "\n " + content)]:
            stream = _core.TextStream(MODEL.tokenizer, format_)
            assert "".join([stream.push(i) for i in ids] + [stream.finish()]) == expected
    call = answer_ids("tool", "```python\ntool_call()\n```")
    stream = _core.TextStream(MODEL.tokenizer, CHAT)
    text = "".join([stream.push(i) for i in call] + [stream.finish()])
    assert text == "tool\n ```python\ntool_call()\n```"


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([], "at least one message"),
        ([_core.Message("robot", "x", "", [])], "found 'robot'"),
        (
            [_core.Message("user", "x", "", [_core.ToolCall("code", "", "", "x", "")])],
            "role 'user'",
        ),
        (
            [_core.Message("assistant", "", "", [_core.ToolCall("function", "", "{}", "", "")])],
            "name",
        ),
        (
            [_core.Message("assistant", "", "", [_core.ToolCall("function", "f", "[1]", "", "")])],
            "JSON",
        ),
        (
            [_core.Message("assistant", "", "", [_core.ToolCall("function", "f", "{", "", "")])],
            "JSON",
        ),
    ],
)
def test_conversations_that_are_refused(messages: list[Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        CHAT.encode(messages)


def test_format_names() -> None:
    assert _core.ChatFormat("", MODEL.tokenizer).name == "chatglm3"
    with pytest.raises(
        UnsupportedModelError, match="'qwen' is not supported; known: none, chatglm3"
    ):
        _core.ChatFormat("qwen", MODEL.tokenizer)
