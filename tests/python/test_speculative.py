"""Speculative decoding: the same answers, token by token, in fewer steps."""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest

from chatglm_cpp import (
    ChatMessage,
    ContextLengthError,
    InvalidArgumentError,
    ModelFileError,
    Pipeline,
)
from chatglm_cpp.convert import convert
from fine_tunes import QKV, LoraMaker, PrefixMaker
from reference_chatglm_6b import TinyChatGlm6b, write_chatglm_6b
from test_cli import assert_failed, assert_usage_error, program, run
from tiny_checkpoint import TinyModel, write_folder

__all__ = ["program"]  # a fixture

DEMO = next((Path(__file__).parents[2] / "models").glob("*.gguf"))
SAMPLING: tuple[dict[str, Any], ...] = (
    {"do_sample": False},
    {"do_sample": False, "repetition_penalty": 1.1},
    {"seed": 3},
    {"seed": 4, "temperature": 1.5, "top_p": 0.95, "top_k": 40, "min_p": 0.01},
    {"seed": 5, "repetition_penalty": 1.05, "bad_words_ids": [[5], [300, 301]]},
)
# Whether guesses are made goes by measured times: a machine that is busy just then may decline.
ATTEMPTS = 10
# What is copied, counted on or said again.
REPETITIVE = (
    "Repeat this: " + "The quick brown fox jumps over the lazy dog. 1 2 3 4 5 6 7. " * 3,
    "1 2 3 4 5 6 1 2 3 4 5 6 1 2 3",
    "Write a story",
)


@pytest.fixture(scope="module")
def plain() -> Pipeline:
    return Pipeline(speculative="off")


@pytest.fixture(scope="module")
def lookup() -> Pipeline:
    return Pipeline(speculative="lookup")


@pytest.fixture(scope="module")
def drafted() -> Pipeline:
    return Pipeline(draft_model=DEMO)


def pieces(pipeline: Pipeline, prompt: str, **options: Any) -> list[tuple[list[int], list[float]]]:
    """All tokens of an answer and their log probabilities, to the last bit."""
    stream = pipeline.chat(prompt, stream=True, logprobs=True, top_logprobs=2, **options)
    tokens = [(delta.token_ids, delta.logprobs or []) for delta in stream]
    return [
        ([token], [logprob]) for ids, of in tokens for token, logprob in zip(ids, of, strict=True)
    ]


@pytest.mark.parametrize("options", SAMPLING, ids=lambda options: " ".join(options))
@pytest.mark.parametrize("prompt", ["你好", *REPETITIVE])
def test_nothing_changes(
    plain: Pipeline, lookup: Pipeline, drafted: Pipeline, prompt: str, options: dict[str, Any]
) -> None:
    expected = pieces(plain, prompt, max_new_tokens=100, **options)
    text = plain.generate(prompt, max_new_tokens=150, **options)
    for pipeline in (lookup, drafted):
        assert pieces(pipeline, prompt, max_new_tokens=100, **options) == expected
        assert pipeline.generate(prompt, max_new_tokens=150, **options) == text


def test_copying_takes_fewer_steps(plain: Pipeline) -> None:
    expected = plain.generate(REPETITIVE[1], max_new_tokens=200, do_sample=False)
    for _ in range(ATTEMPTS):
        pipeline = Pipeline()  # by default
        before = pipeline.stats
        stream = pipeline.generate(REPETITIVE[1], max_new_tokens=200, do_sample=False, stream=True)
        assert stream.text == expected
        if stream.accepted_tokens > 0:
            break
    assert 0 < stream.accepted_tokens <= stream.proposed_tokens
    after = pipeline.stats
    assert after.tokens_generated - before.tokens_generated == 200
    assert after.tokens_accepted == stream.accepted_tokens
    assert after.steps == 200 - stream.accepted_tokens
    assert plain.stats.tokens_proposed == 0


def test_a_draft_model_that_is_the_model_itself_is_always_right(drafted: Pipeline) -> None:
    accepted = proposed = 0
    for prompt in REPETITIVE:
        stream = drafted.chat(prompt, max_new_tokens=100, do_sample=False, stream=True)
        assert stream.message.content
        accepted, proposed = accepted + stream.accepted_tokens, proposed + stream.proposed_tokens
    assert accepted == proposed


@pytest.mark.parametrize("kv_dtype", ["f32", "q8_0"])
def test_every_kind_of_cache(kv_dtype: str) -> None:
    answers = [
        Pipeline(speculative=how, kv_dtype=kv_dtype).generate(
            REPETITIVE[1], max_new_tokens=120, do_sample=False
        )
        for how in ("off", "lookup")
    ]
    assert answers[0] == answers[1]


def test_stop_texts_end_it_at_the_same_place(plain: Pipeline, lookup: Pipeline) -> None:
    options: dict[str, Any] = {"max_new_tokens": 200, "do_sample": False}
    whole = plain.generate(REPETITIVE[1], **options)
    for at in (5, 20, 61, 120):
        stop = whole[at : at + 5]
        cut = whole[: whole.index(stop)]
        assert lookup.generate(REPETITIVE[1], stop=stop, **options) == cut


def test_conversations_reuse_what_was_computed(lookup: Pipeline, plain: Pipeline) -> None:
    reused = []
    for pipeline in (plain, lookup):
        history = [ChatMessage("user", REPETITIVE[0])]
        before = pipeline.stats.prompt_tokens_reused
        for _ in range(3):
            history.append(pipeline.chat(history, do_sample=False, max_new_tokens=60))
            history.append(ChatMessage("user", REPETITIVE[1]))
        reused.append((pipeline.stats.prompt_tokens_reused - before, history))
    assert reused[0] == reused[1]


def test_a_dropped_stream_ends_the_generation(lookup: Pipeline) -> None:
    stream = lookup.generate(REPETITIVE[1], max_new_tokens=200, do_sample=False, stream=True)
    assert len(list(itertools.islice(stream, 3))) == 3
    stream.close()
    assert stream.finish_reason == "cancelled"
    assert lookup.generate("1 2 3", max_new_tokens=2, do_sample=False)


# Other models


def tiny(folder: Path) -> tuple[Path, dict[str, Any]]:
    return convert(write_folder(folder / "hf", TinyModel()), folder / "x.gguf", "f32"), {}


def chatglm_6b(folder: Path) -> tuple[Path, dict[str, Any]]:
    model = TinyChatGlm6b()
    write_chatglm_6b(folder / "hf", model, model.weights(seed=5))
    return convert(folder / "hf", folder / "x.gguf", "f32"), {}


def with_prefix(folder: Path) -> tuple[Path, dict[str, Any]]:
    base = write_folder(folder / "hf", TinyModel())
    prefix = PrefixMaker(21, 2, 1, 32, seed=1).write_official(folder / "prefix", "bin")
    return convert(base, folder / "x.gguf", "f32", fine_tune=prefix), {}


def with_adapter(folder: Path) -> tuple[Path, dict[str, Any]]:
    weights = TinyModel().weights(seed=5)
    base = write_folder(folder / "hf", TinyModel(), weights)
    maker = LoraMaker(weights, 2, r=4, lora_alpha=6)
    for layer in range(2):
        maker = maker.update(QKV.format(layer))
    adapter = maker.write(folder / "lora")
    return convert(base, folder / "x.gguf", "f32"), {"adapters": {"mine": adapter}}


@pytest.mark.parametrize("make", [tiny, chatglm_6b, with_prefix, with_adapter])
def test_every_family(tmp_path: Path, make: Callable[[Path], tuple[Path, dict[str, Any]]]) -> None:
    path, options = make(tmp_path)
    pipelines = [
        Pipeline(path, num_threads=2, **options, **how)
        for how in ({"speculative": "off"}, {"speculative": "lookup"}, {"draft_model": path})
    ]
    adapter = next(iter(pipelines[0].adapters), None)
    for prompt in ("the tin the tin the tin", "aaaa"):
        for sampling in SAMPLING[:4]:
            answers = [
                pipeline.generate(prompt, max_new_tokens=60, adapter=adapter, **sampling)
                for pipeline in pipelines
            ]
            assert answers[0] == answers[1] == answers[2], (prompt, sampling)
    proposed = sum(pipeline.stats.tokens_proposed for pipeline in pipelines)
    assert proposed > 0


# Errors


def test_another_vocabulary(tmp_path: Path) -> None:
    path, _ = tiny(tmp_path)
    with pytest.raises(ModelFileError, match=r"x\.gguf: .*vocabulary.*tokens, found"):
        Pipeline(draft_model=path)


def test_one_token_is_another(tmp_path: Path) -> None:
    field = gguf.GGUFReader(DEMO).fields["tokenizer.ggml.tokens"]
    pieces = [bytes(field.parts[index]) for index in field.data]
    token = next(i for i, piece in enumerate(pieces) if i > 300 and len(piece) == 5)
    old = struct.pack("<Q", 5) + pieces[token]
    data = DEMO.read_bytes()
    assert data.count(old) == 1
    path = tmp_path / "other.gguf"
    path.write_bytes(data.replace(old, struct.pack("<Q", 5) + b"qqqqq"))
    with pytest.raises(ModelFileError, match=rf"other\.gguf: .*token {token} is .*'qqqqq'"):
        Pipeline(draft_model=path)


def test_errors_name_the_draft_model(tmp_path: Path) -> None:
    absent = tmp_path / "absent.gguf"
    with pytest.raises(ModelFileError, match=r"absent\.gguf"):
        Pipeline(draft_model=absent)
    absent.write_bytes(b"GGUF")
    with pytest.raises(ModelFileError, match=r"absent\.gguf"):
        Pipeline(draft_model=absent)


def test_its_context_is_part_of_the_budget() -> None:
    with pytest.raises(InvalidArgumentError, match="draft model"):
        Pipeline(draft_model=DEMO, kv_cache_bytes=10_000)
    messages = []
    # The same model twice: each has half of it.
    for options in ({"kv_cache_bytes": 400_000}, {"draft_model": DEMO, "kv_cache_bytes": 800_000}):
        with pytest.raises(ContextLengthError, match="KV cache's budget") as error:
            Pipeline(**options).chat("a " * 1000)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


def test_options_are_checked() -> None:
    wrong: Any = "maybe"
    with pytest.raises(InvalidArgumentError, match="auto, off or lookup"):
        Pipeline(speculative=wrong)
    for how in ("off", "lookup", None):
        with pytest.raises(InvalidArgumentError, match="draft model"):
            Pipeline(speculative=how, draft_model=DEMO)


# The command line


def test_the_command_line_says_what_was_accepted(program: str) -> None:
    arguments = ["-p", REPETITIVE[1], "--mode", "generate", "--temp", "0", "-v"]
    arguments += ["--max_new_tokens", "200"]
    plain = run(program, *arguments, "--speculative", "off")
    assert b"speculation" not in plain.stderr
    for how in (["--speculative", "lookup"], ["--draft_model", str(DEMO)]):
        line = None
        for _ in range(ATTEMPTS):
            guessed = run(program, *arguments, *how)
            assert guessed.stdout == plain.stdout
            line = re.search(
                r"^speculation: (\d+) tokens proposed, (\d+) accepted \(([\d.]+) %\)$",
                guessed.stderr.decode(),
                re.MULTILINE,
            )
            if line is not None and int(line[2]) > 0:
                break
        assert line is not None
        proposed, accepted = int(line[1]), int(line[2])
        assert 0 < accepted <= proposed
        assert float(line[3]) == pytest.approx(100 * accepted / proposed, abs=0.06)


def test_the_command_line_refuses(program: str, tmp_path: Path) -> None:
    assert_usage_error(run(program, "-p", "hi", "--speculative", "maybe"), "maybe")
    draft = ["--draft_model", str(tmp_path / "absent.gguf")]
    assert_usage_error(run(program, "-p", "hi", "--speculative", "off", *draft), "--draft_model")
    assert_failed(run(program, "-p", "hi", *draft), 1, "absent.gguf")
