"""A pipeline on the bundled demo model, as a user meets it."""

from __future__ import annotations

import _thread
import itertools
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chatglm_cpp
from chatglm_cpp import ChatMessage, DeltaMessage, Pipeline
from chatglm_cpp.convert import convert
from tiny_checkpoint import TinyModel, write_folder


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline()


@pytest.fixture(scope="module")
def answer(pipeline: Pipeline) -> str:
    """The greedy answer to a greeting."""
    return pipeline.chat("你好", do_sample=False).content


# The official system messages of the two tool modes.
TOOL_PROMPT = (
    "Answer the following questions as best as you can. You have access to the following tools:"
)
INTERPRETER = (
    "你是一位智能AI助手，你叫ChatGLM，你连接着一台电脑，但请注意不能联网。在使用Python解决任务时，"
    "你可以运行代码并得到结果，如果运行结果有错误，你需要尽可能对代码进行改进。"
    "你可以处理用户上传到电脑上的文件，文件默认存储路径是/mnt/data/。"
)


def weather_question() -> list[ChatMessage]:
    tool = {
        "name": "get_weather",
        "description": "查询城市的天气",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "城市名"}},
            "required": ["city"],
        },
    }
    return [
        ChatMessage("system", TOOL_PROMPT, tools=[tool]),
        ChatMessage("user", "北京的天气怎么样？"),
    ]


# A generation that goes on until somebody ends it.
ENDLESS: dict[str, Any] = {"temperature": 50.0, "top_p": 1.0, "seed": 1}


# Answers


def test_greeting(answer: str) -> None:
    assert "你好" in answer


@pytest.mark.parametrize("prompt", ["你好", "Hello!", "你会做什么？"])
def test_a_streamed_answer_is_the_whole_answer(pipeline: Pipeline, prompt: str) -> None:
    whole = pipeline.chat(prompt, do_sample=False)
    stream = pipeline.chat(prompt, do_sample=False, stream=True)
    deltas = list(stream)
    assert len(deltas) > 1
    assert all(delta.role == "assistant" for delta in deltas)
    assert "".join(delta.content for delta in deltas).strip() == whole.content
    assert stream.message == whole
    assert stream.finish_reason == "stop"
    assert pipeline.merge_streaming_messages(deltas) == whole


def test_every_token_of_a_stream_is_given_once(pipeline: Pipeline) -> None:
    deltas = list(pipeline.chat("你好", do_sample=False, stream=True))
    ids = [token_id for delta in deltas for token_id in delta.token_ids]
    assert "".join(delta.content for delta in deltas) == pipeline.tokenizer.decode(ids).strip()


def test_all_forms_of_a_message_are_the_same_prompt(pipeline: Pipeline) -> None:
    encode = pipeline.tokenizer.apply_chat_template
    ids = encode("hello")
    assert ids == encode(ChatMessage("user", "hello"))
    assert ids == encode([ChatMessage("user", "hello")])
    assert ids == encode([{"role": "user", "content": "hello"}])
    assert ids == encode(message for message in [{"role": "user", "content": "hello"}])


def test_generate_continues_a_text(pipeline: Pipeline) -> None:
    text = pipeline.generate("1 2 3", do_sample=False, max_new_tokens=5)
    stream = pipeline.generate("1 2 3", do_sample=False, max_new_tokens=5, stream=True)
    assert "".join(stream) == text
    assert stream.text == text


def test_the_same_seed_gives_the_same_text(pipeline: Pipeline) -> None:
    def sample(seed: int | None) -> str:
        return pipeline.generate("今天", max_new_tokens=20, temperature=2.0, top_p=1.0, seed=seed)

    assert sample(7) == sample(7)
    assert len({sample(None) for _ in range(6)}) > 1


# Tools


def test_a_tool_is_called_and_its_observation_used(pipeline: Pipeline) -> None:
    history = weather_question()
    call = pipeline.chat(history, do_sample=False)
    assert [tool_call.type for tool_call in call.tool_calls] == ["function"]
    function = call.tool_calls[0].function
    assert function is not None
    assert function.name == "get_weather"
    assert "北京" in json.loads(function.arguments).values()

    history += [call, ChatMessage("observation", '{"temperature": 21}')]
    answer = pipeline.chat(history, do_sample=False)
    assert answer.content
    assert answer.tool_calls == []


def test_a_streamed_tool_call_is_read_at_its_end(pipeline: Pipeline) -> None:
    whole = pipeline.chat(weather_question(), do_sample=False)
    stream = pipeline.chat(weather_question(), do_sample=False, stream=True)
    deltas = list(stream)
    assert "".join(delta.content for delta in deltas).startswith("get_weather\n")
    assert stream.message == whole
    assert pipeline.merge_streaming_messages(deltas) == whole


def test_a_program_is_returned_not_run(pipeline: Pipeline) -> None:
    history = [ChatMessage("system", INTERPRETER), ChatMessage("user", "计算 12 * 34")]
    call = pipeline.chat(history, do_sample=False)
    assert [tool_call.type for tool_call in call.tool_calls] == ["code"]
    code = call.tool_calls[0].code
    assert code is not None
    assert "12" in code.input
    compile(code.input, "answer", "exec")
    history += [call, ChatMessage("observation", "408")]
    assert "408" in pipeline.chat(history, do_sample=False).content


# Lengths


def test_max_new_tokens_counts_new_tokens(pipeline: Pipeline) -> None:
    stream = pipeline.chat("你好", max_new_tokens=3, stream=True, **ENDLESS)
    assert sum(len(delta.token_ids) for delta in stream) == 3
    assert stream.finish_reason == "length"


def test_max_length_counts_all_tokens(pipeline: Pipeline) -> None:
    prompt_tokens = len(pipeline.tokenizer.apply_chat_template("你好"))
    stream = pipeline.chat("你好", max_length=prompt_tokens + 2, stream=True, **ENDLESS)
    assert sum(len(delta.token_ids) for delta in stream) == 2
    assert stream.finish_reason == "length"


def test_a_prompt_that_does_not_fit_is_not_cut(pipeline: Pipeline) -> None:
    prompt_tokens = len(pipeline.tokenizer.apply_chat_template("你好"))
    too_short: list[dict[str, Any]] = [
        {"max_length": prompt_tokens},
        {"max_context_length": prompt_tokens - 1},
    ]
    for options in too_short:
        with pytest.raises(chatglm_cpp.ContextLengthError) as caught:
            pipeline.chat("你好", **options)
        assert f"the prompt has {prompt_tokens} tokens" in str(caught.value)
        assert f"the limit is {prompt_tokens - 1}" in str(caught.value)
        assert isinstance(caught.value, ValueError)
    assert pipeline.chat("你好", max_context_length=prompt_tokens, max_new_tokens=1)


def test_a_prompt_longer_than_the_model_can_hold(pipeline: Pipeline) -> None:
    with pytest.raises(chatglm_cpp.ContextLengthError, match=str(pipeline.max_length)):
        pipeline.chat("hello " * (pipeline.max_length + 1))


def test_a_pipeline_may_be_shorter_than_its_model() -> None:
    pipeline = Pipeline(max_length=64)
    assert pipeline.max_length == 64
    assert pipeline.model.config.max_length > 64
    assert pipeline.chat("你好", do_sample=False).content
    with pytest.raises(chatglm_cpp.InvalidArgumentError, match="max_length is at most 64"):
        pipeline.chat("你好", max_length=65)


# Stopping


def test_stop_ends_the_answer_before_the_text(pipeline: Pipeline, answer: str) -> None:
    for length in (1, 2, 3):
        stop = answer[3 : 3 + length]
        expected = answer[: answer.index(stop)]
        stream = pipeline.chat("你好", do_sample=False, stop=["never said", stop], stream=True)
        deltas = list(stream)
        assert "".join(delta.content for delta in deltas) == expected
        assert stream.message.content == expected.strip()
        assert pipeline.merge_streaming_messages(deltas) == stream.message
        assert stream.finish_reason == "stop"
        assert pipeline.chat("你好", do_sample=False, stop=stop) == stream.message


def test_bad_words_are_not_produced(pipeline: Pipeline) -> None:
    ids = [
        token_id
        for delta in pipeline.chat("你好", do_sample=False, stream=True)
        for token_id in delta.token_ids
    ]
    banned = ids[3]
    again = pipeline.chat("你好", do_sample=False, bad_words_ids=[[banned]], stream=True)
    assert all(banned not in delta.token_ids for delta in again)


def test_a_closed_stream_stops(pipeline: Pipeline) -> None:
    stream = pipeline.chat("你好", stream=True, **ENDLESS)
    first = next(stream)
    stream.close()
    assert stream.finish_reason == "cancelled"
    assert list(stream) == []
    assert stream.message.content.startswith(first.content.strip())


def test_a_dropped_stream_frees_its_place(pipeline: Pipeline) -> None:
    for _ in range(100):  # more than run at once
        next(pipeline.chat("你好", stream=True, **ENDLESS))
    assert pipeline.chat("你好", do_sample=False, max_new_tokens=3).content


@pytest.mark.parametrize("stream", [False, True])
def test_ctrl_c_stops_a_generation(pipeline: Pipeline, stream: bool) -> None:
    timer = threading.Timer(0.2, _thread.interrupt_main)
    timer.start()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        # One generation is too short on a fast machine.
        while time.monotonic() - begin < 60:
            result = pipeline.chat("你好", stream=stream, **ENDLESS)
            for _ in result if isinstance(result, chatglm_cpp.ChatStream) else ():
                pass
    timer.join()
    assert time.monotonic() - begin < 10
    assert pipeline.chat("你好", do_sample=False).content  # still of use


# Log probabilities


def test_logprobs_are_those_of_the_logits(pipeline: Pipeline) -> None:
    prompt = pipeline.tokenizer.apply_chat_template("你好")
    deltas: list[DeltaMessage] = list(
        pipeline.chat("你好", do_sample=False, stream=True, logprobs=True, top_logprobs=3)
    )
    ids = [token_id for delta in deltas for token_id in delta.token_ids]
    logprobs = [value for delta in deltas for value in delta.logprobs or []]
    tops = [top for delta in deltas for top in delta.top_logprobs or []]
    assert len(ids) == len(logprobs) == len(tops)

    logits = pipeline.model.logits(prompt + ids)[len(prompt) - 1 : -1].astype(np.float64)
    expected = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    rows = np.arange(len(ids))
    # The context is kept in f16, and the batches of the two runs differ.
    np.testing.assert_allclose(logprobs, expected[rows, ids], atol=0.02)
    for token_id, logprob, top in zip(ids, logprobs, tops, strict=True):
        assert len(top) == 3
        assert top[0].token_id == token_id
        assert top[0].logprob == logprob
        assert [entry.logprob for entry in top] == sorted(
            (entry.logprob for entry in top), reverse=True
        )


def test_no_logprobs_unless_asked_for(pipeline: Pipeline) -> None:
    delta = next(pipeline.chat("你好", stream=True))
    assert delta.logprobs is None
    assert delta.top_logprobs is None


# Logits


def test_logits(pipeline: Pipeline) -> None:
    ids = pipeline.tokenizer.encode("你好，世界")
    logits = pipeline.model.logits(ids)
    assert logits.shape == (len(ids), pipeline.model.config.vocab_size)
    assert logits.dtype == np.float32
    # A token knows nothing of those after it.
    np.testing.assert_allclose(pipeline.model.logits(ids[:-1]), logits[:-1], atol=1e-3)


@pytest.mark.parametrize(
    ("ids", "error"),
    [
        ([], chatglm_cpp.InvalidArgumentError),
        ([-1], chatglm_cpp.InvalidArgumentError),
        ([10**6], chatglm_cpp.InvalidArgumentError),
    ],
)
def test_logits_of_bad_ids(pipeline: Pipeline, ids: list[int], error: type[Exception]) -> None:
    with pytest.raises(error):
        pipeline.model.logits(ids)


def test_logits_of_too_many_ids(pipeline: Pipeline) -> None:
    with pytest.raises(chatglm_cpp.ContextLengthError):
        pipeline.model.logits([5] * (pipeline.max_length + 1))


# What a user can get wrong


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.0},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": "hot"},
        {"top_p": 0.0},
        {"top_p": 1.01},
        {"top_k": -1},
        {"top_k": 2**40},
        {"top_k": 1.5},
        {"min_p": 1.5},
        {"repetition_penalty": 0.0},
        {"seed": -1},
        {"seed": 2**64},
        {"max_length": 0},
        {"max_length": -5},
        {"max_length": 10**9},
        {"max_length": 2**80},
        {"max_new_tokens": 0},
        {"max_context_length": 0},
        {"stop": ""},
        {"stop": ["a", ""]},
        {"stop": [1]},
        {"bad_words_ids": [[]]},
        {"bad_words_ids": [[-1]]},
        {"bad_words_ids": [["a"]]},
        {"logprobs": True},
        {"top_logprobs": 2},
        {"logprobs": True, "top_logprobs": -2, "stream": True},
    ],
    ids=str,
)
def test_an_option_out_of_range(pipeline: Pipeline, options: dict[str, Any]) -> None:
    with pytest.raises(chatglm_cpp.InvalidArgumentError) as caught:
        pipeline.chat("你好", **options)
    # The sentence names the option, except where it is about how two go together.
    assert any(name.split("_")[0] in str(caught.value) for name in options)
    assert isinstance(caught.value, ValueError)


def test_an_unknown_option(pipeline: Pipeline) -> None:
    with pytest.raises(TypeError, match="num_beams"):
        pipeline.chat("你好", num_beams=4)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="top_q"):
        pipeline.generate("你好", top_q=1)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "options",
    [
        {"device": "abacus"},
        {"device": "cuda:x"},
        {"device": "cuda:0,0"},
        {"gpu_layers": -1},
        {"gpu_layers": 2, "device": "cpu"},
        {"num_threads": 0},
        {"num_threads": -1},
        {"num_threads": 100_000},
        {"kv_dtype": "f8"},
        {"kv_cache_bytes": 1},
        {"kv_cache_bytes": 0},
        {"max_length": 0},
        {"max_length": 10**9},
        {"dtype": "q8_0"},
    ],
    ids=str,
)
def test_a_pipeline_option_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(chatglm_cpp.InvalidArgumentError):
        Pipeline(**options)


def test_a_device_that_is_not_here() -> None:
    with pytest.raises(chatglm_cpp.DeviceError, match="cuda:1000000"):
        Pipeline(device="cuda:1000000")
    with pytest.raises(chatglm_cpp.DeviceError, match="cuda:1000000"):
        Pipeline(device="cuda:1000000,1000001")
    with pytest.raises(chatglm_cpp.DeviceError, match="cuda:1000000"):
        Pipeline(device="cuda:1000000", gpu_layers=1)


def test_no_layers_on_a_gpu() -> None:
    assert Pipeline(device="cuda", gpu_layers=0).chat("你好", do_sample=False).content


def test_half_a_character(pipeline: Pipeline) -> None:
    for call in (
        lambda: pipeline.chat("a\ud83d"),
        lambda: pipeline.generate("a\ud83d"),
        lambda: pipeline.chat("hi", stop="\ud83d"),
    ):
        with pytest.raises(chatglm_cpp.InvalidArgumentError, match="half of a character"):
            call()


# Model files


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "no such 模型.gguf"
    with pytest.raises(chatglm_cpp.ModelFileError, match=r"no such 模型\.gguf"):
        Pipeline(path)


@pytest.mark.parametrize("content", [b"", b"x", b"GGUF", b"not a model at all" * 100])
def test_a_file_that_is_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(chatglm_cpp.ModelFileError, match=r"model\.gguf"):
        Pipeline(path)


def test_a_folder_that_is_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "empty"
    folder.mkdir()
    with pytest.raises(chatglm_cpp.ConversionError, match="empty"):
        Pipeline(folder)
    with pytest.raises(chatglm_cpp.InvalidArgumentError, match="q2_k"):
        Pipeline(folder, dtype="q2_k")


def test_a_folder_is_converted_once(
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def open_folder(**options: Any) -> str:
        assert Pipeline(tiny_folder, **options).model.config.num_layers == 2
        return capfd.readouterr().err

    cache = tmp_path / "cache" / "chatglm_cpp"
    assert "converting" in open_folder()
    assert [path.name.split("-q4_0-")[0] for path in cache.iterdir()] == ["tiny-chatglm3"]
    assert "converting" not in open_folder()
    assert "converting" in open_folder(dtype="q8_0")
    config = tiny_folder / "config.json"
    config.write_text(config.read_text() + "\n")
    assert "converting" in open_folder()
    assert len(list(cache.iterdir())) == 3


def test_a_base_model_completes_and_does_not_chat(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "base", TinyModel(name="THUDM/chatglm3-6b-base"))
    pipeline = Pipeline(convert(folder, tmp_path / "base.gguf", "f16", progress=False))
    expected = r"chatglm3-6b-base is a base model, .* knows no conversation: use generate\(\)"
    with pytest.raises(chatglm_cpp.UnsupportedModelError, match=expected):
        pipeline.chat("hi")
    with pytest.raises(chatglm_cpp.UnsupportedModelError, match=expected):
        pipeline.chat("hi", stream=True)
    with pytest.raises(chatglm_cpp.UnsupportedModelError, match="chatglm3-6b-base is a base model"):
        pipeline.tokenizer.apply_chat_template("hi")
    stream = pipeline.generate("hi", max_new_tokens=3, seed=1, stream=True)
    assert "".join(stream) == stream.text


def test_an_environment_variable_names_the_demo_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHATGLM_DEMO_MODEL", str(tmp_path / "elsewhere.gguf"))
    with pytest.raises(chatglm_cpp.ModelFileError, match=r"elsewhere\.gguf"):
        Pipeline()


# The rest of the surface


def test_config(pipeline: Pipeline) -> None:
    config = pipeline.model.config
    assert config.model_type == "chatglm3"
    assert config.num_heads * config.head_dim == config.hidden_size
    assert config.num_kv_heads == 2
    assert config.vocab_size >= pipeline.tokenizer.vocab_size
    assert config.max_length >= 1024
    assert len(config.eos_token_ids) == 3


def test_tokenizer(pipeline: Pipeline) -> None:
    tokenizer = pipeline.tokenizer
    text = "你好, world! 🤖 <|user|>"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids) == text
    with_prefix = tokenizer.encode(text)
    assert with_prefix[2:] == ids
    assert tokenizer.decode(with_prefix[:2], skip_special_tokens=False) == "[gMASK]sop"
    # Text that looks like a role is not one.
    assert not set(ids) & set(pipeline.model.config.eos_token_ids)


def test_system_info_names_the_instruction_set(pipeline: Pipeline) -> None:
    assert "thread" in pipeline.system_info


@pytest.mark.parametrize("kv_dtype", ["f32", "f16", "q8_0"])
def test_kv_dtypes(kv_dtype: str, answer: str) -> None:
    content = Pipeline(kv_dtype=kv_dtype, num_threads=1).chat("你好", do_sample=False).content
    assert "你好" in content


def test_threads_get_their_own_answers(pipeline: Pipeline) -> None:
    prompts = ["你好", "Hello!", "你是谁？", "1+1等于几？"] * 2
    alone = [pipeline.chat(prompt, do_sample=False, max_new_tokens=24) for prompt in prompts]
    together: list[ChatMessage | None] = [None] * len(prompts)

    def run(index: int) -> None:
        together[index] = pipeline.chat(prompts[index], do_sample=False, max_new_tokens=24)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_a_conversation_goes_on(pipeline: Pipeline) -> None:
    history = [ChatMessage("user", "你好")]
    for question in ("你是谁？", "谢谢"):
        history.append(pipeline.chat(history, do_sample=False))
        history.append(ChatMessage("user", question))
    assert [message.role for message in history[:4]] == ["user", "assistant"] * 2
    assert pipeline.chat(history, do_sample=False).content


def test_generations_do_not_wait_for_each_other(pipeline: Pipeline) -> None:
    streams = [pipeline.chat("你好", stream=True, **ENDLESS) for _ in range(3)]
    for stream, _ in itertools.product(streams, range(3)):
        next(stream)


def test_a_generation_outlives_its_pipeline() -> None:
    def stream_of(make: Callable[[], Pipeline]) -> Any:
        return make().chat("你好", do_sample=False, stream=True)

    assert stream_of(Pipeline).message.content
