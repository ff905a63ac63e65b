"""Perplexity and divergence: against plain computations, and the program around them."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatglm_cpp import ContextLengthError, InvalidArgumentError, Pipeline
from chatglm_cpp.convert import convert
from chatglm_cpp.evaluate import (
    Divergence,
    perplexity,
    read_text,
    sliding_windows,
    tokenize,
)
from chatglm_cpp.evaluate import __main__ as program
from tiny_checkpoint import TinyModel, write_folder

TEXT = "法国的首都是巴黎。日本的首都是东京。What is the colour of the sky? It is blue.\n" * 3


@pytest.fixture(scope="module", autouse=True)
def equal_products() -> Iterator[None]:
    """``amx`` rounds products of many rows otherwise than those of few, which are compared here."""
    with pytest.MonkeyPatch.context() as patch:
        if ", amx," in Pipeline(num_threads=1).system_info:
            patch.setenv("CHATGLM_ISA", "avx512_vnni")
        yield


@pytest.fixture(scope="module")
def demo() -> Pipeline:
    return Pipeline(num_threads=2)


@pytest.fixture(scope="module")
def demo_q4(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model, made worse."""
    target = tmp_path_factory.mktemp("requantized") / "q4.gguf"
    return convert(demo_file(repository), target, "q4_0", progress=False)


def demo_file(repository: Path) -> Path:
    return repository / "models" / "chatglm3-demo-q8_0.gguf"


# Windows.


@given(st.integers(0, 300), st.integers(1, 60), st.data())
def test_windows_score_every_token_once(tokens: int, size: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, size))
    windows = list(sliding_windows(tokens, size, stride))
    scored = [i for w in windows for i in range(w.first_scored, w.end)]
    assert scored == list(range(tokens))
    for index, window in enumerate(windows):
        assert window.begin == index * stride
        assert window.begin <= window.first_scored < window.end <= window.begin + size
        # A token that is scored late has at least size - stride tokens before it.
        assert index == 0 or window.first_scored - window.begin == size - stride


@pytest.mark.parametrize(("size", "stride"), [(0, 1), (5, 0), (5, 6), (5, -1)])
def test_windows_out_of_range(size: int, stride: int) -> None:
    with pytest.raises(InvalidArgumentError, match=r"found -?\d"):
        list(sliding_windows(10, size, stride))


# Numbers, against a plain computation from whole matrices of logits.


def log_softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    result: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def plain_scores(
    pipeline: Pipeline, ids: list[int], window: int, stride: int
) -> tuple[list[float], list[npt.NDArray[np.float64]]]:
    """Hugging Face's loop with the prefix in each window: scores, and rows of log-probabilities."""
    prefix = pipeline.tokenizer.encode("")
    room = window - len(prefix)
    nlls, rows, previous_end = [], [], 0
    for begin in range(0, len(ids), stride):
        end = min(begin + room, len(ids))
        tokens = prefix + ids[begin:end]
        log_probabilities = log_softmax(pipeline.model.logits(tokens))
        for target in range(previous_end, end):
            row = log_probabilities[len(prefix) + target - begin - 1]
            nlls.append(-float(row[ids[target]]))
            rows.append(row)
        previous_end = end
        if end == len(ids):
            break
    return nlls, rows


@pytest.mark.parametrize(("window", "stride"), [(20, 7), (40, 38), (2048, None)])
def test_perplexity_is_that_of_the_logits(demo: Pipeline, window: int, stride: int | None) -> None:
    ids = demo.tokenizer.encode(TEXT, add_special_tokens=False)
    nlls, _ = plain_scores(demo, ids, window, stride or 1024)
    result, divergence = perplexity(demo, TEXT, window=window, stride=stride)
    assert divergence is None
    assert result.tokens == len(ids)
    assert result.nll.mean == pytest.approx(np.mean(nlls), rel=1e-6)
    assert result.perplexity == pytest.approx(math.exp(float(np.mean(nlls))), rel=1e-6)
    error = np.std(nlls, ddof=1) / math.sqrt(len(nlls))
    assert result.nll.standard_error == pytest.approx(error, rel=1e-5)
    assert result.standard_error == pytest.approx(error * result.perplexity, rel=1e-5)


def test_divergence_is_that_of_the_logits(demo: Pipeline, demo_q4: Path) -> None:
    model = Pipeline(demo_q4, num_threads=2)
    ids = demo.tokenizer.encode(TEXT, add_special_tokens=False)
    nlls, rows = plain_scores(model, ids, 30, 14)
    reference_nlls, reference_rows = plain_scores(demo, ids, 30, 14)
    p, q = np.array(reference_rows), np.array(rows)
    kls = (np.exp(p) * (p - q)).sum(axis=1)
    result, found = perplexity(model, TEXT, window=30, stride=14, reference=demo)
    assert isinstance(found, Divergence)
    assert result.nll.mean == pytest.approx(np.mean(nlls), rel=1e-6)
    assert found.reference.nll.mean == pytest.approx(np.mean(reference_nlls), rel=1e-6)
    assert found.kl.mean == pytest.approx(kls.mean(), rel=1e-5)
    expected = np.percentile(kls, [50, 90, 99, 100])
    assert [found.kl_median, found.kl_90, found.kl_99, found.kl_max] == pytest.approx(
        expected, rel=1e-4, abs=1e-9
    )
    assert found.same_top.mean == pytest.approx(np.mean(p.argmax(axis=1) == q.argmax(axis=1)))
    differences = np.array(nlls) - np.array(reference_nlls)
    assert found.nll_difference.mean == pytest.approx(differences.mean(), abs=1e-6)
    assert 0.001 < found.kl.mean < 1


def test_direction_and_zero(demo: Pipeline, demo_q4: Path, repository: Path) -> None:
    model, same = Pipeline(demo_q4), Pipeline(demo_file(repository))
    _, forth = perplexity(model, TEXT, reference=demo)
    _, back = perplexity(demo, TEXT, reference=model)
    _, none = perplexity(same, TEXT, reference=demo)
    assert forth is not None
    assert back is not None
    assert none is not None
    assert forth.kl.mean != back.kl.mean
    assert forth.nll_difference.mean == pytest.approx(-back.nll_difference.mean)
    assert none.kl_max == 0
    assert none.same_top.mean == 1


# Special tokens in texts.


def test_special_tokens_are_text_unless_asked(demo: Pipeline) -> None:
    core = demo._core.tokenizer
    text = "<|user|>\n hello<|assistant|>\n hi <|nobody|> [x]"
    plain = tokenize(core, text)
    assert not any(core.is_special(i) for i in plain)
    parsed = tokenize(core, text, parse_special=True)
    assert [i for i in parsed if core.is_special(i)] == [
        core.special_id("<|user|>"),
        core.special_id("<|assistant|>"),
    ]
    assert "<|nobody|> [x]" in core.decode(parsed)


def test_a_laid_out_conversation_has_the_ids_of_the_chat(demo: Pipeline) -> None:
    text = "<|system|>\n Be brief.<|user|>\n 你好<|assistant|>"
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "你好"}]
    prefix = demo.tokenizer.encode("")
    ids = tokenize(demo._core.tokenizer, text, parse_special=True)
    assert prefix + ids == demo.tokenizer.apply_chat_template(messages)


# What can't be measured.


def test_refusals(demo: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="too short: 0 of its tokens"):
        perplexity(demo, "")
    with pytest.raises(ContextLengthError, match="9999 tokens is longer than the model's 2048"):
        perplexity(demo, TEXT, window=9999)
    with pytest.raises(InvalidArgumentError, match="room for the 2 tokens"):
        perplexity(demo, TEXT, window=2)
    with pytest.raises(InvalidArgumentError, match="stride is 1 to 30"):
        perplexity(demo, TEXT, window=32, stride=31)
    with pytest.raises(InvalidArgumentError, match="two pipelines"):
        perplexity(demo, TEXT, reference=demo)
    folder = write_folder(tmp_path / "other", TinyModel())
    other = Pipeline(convert(folder, tmp_path / "other.gguf", "f16", progress=False))
    with pytest.raises(InvalidArgumentError, match="vocabularies differ: the model has 4032"):
        perplexity(demo, TEXT, reference=other)


# The program.


def run(*arguments: str | Path) -> int:
    return program.main(["perplexity", *map(str, arguments)])


def test_program(
    repository: Path, demo_q4: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_text(TEXT, encoding="utf-8")
    reference = demo_file(repository)
    options: list[str | Path] = ["-m", demo_q4, "--text", text, "--window", "64", "--kl-against"]
    assert run(*options, reference, "--json") == 0
    printed = capsys.readouterr()
    assert "perplexity" in printed.err  # the bar
    content = json.loads(printed.out)
    expected, divergence = perplexity(
        Pipeline(demo_q4), TEXT, window=64, reference=Pipeline(reference)
    )
    assert divergence is not None
    assert content["perplexity"] == expected.perplexity
    assert content["divergence"]["kl"]["mean"] == divergence.kl.mean
    assert (content["window"], content["stride"]) == (64, 31)
    assert run(*options, reference, "--quiet") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert f"{expected.perplexity:.4f} ±" in printed.out
    assert "KL(reference || model)" in printed.out
    assert f"{divergence.kl_99:.6f}" in printed.out


def test_program_says_what_is_wrong(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = demo_file(repository)
    assert run("-m", model, "--text", tmp_path / "none.txt") == 1
    assert "none.txt: can't be read" in capsys.readouterr().err
    latin = tmp_path / "latin.txt"
    latin.write_bytes(b"caf\xe9 au lait")
    assert run("-m", model, "--text", latin) == 1
    assert "expected UTF-8 text, found byte 0xe9 at 3" in capsys.readouterr().err
    assert read_text(write(tmp_path / "bom.txt", b"\xef\xbb\xbfhi")) == "hi"
    assert run("-m", tmp_path / "none.gguf", "--text", write(tmp_path / "a.txt", b"hi")) == 1
    assert "none.gguf" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        program.main(["perplexity"])


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c(repository: Path, tmp_path: Path) -> None:
    text = write(tmp_path / "long.txt", TEXT.encode() * 2000)
    command = [sys.executable, "-m", "chatglm_cpp.evaluate", "perplexity"]
    command += ["-m", str(demo_file(repository)), "--text", str(text), "--stride", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    seen = ""
    while "perplexity" not in seen:  # the bar after the first window
        seen += process.stderr.read(1)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    rest = process.stderr.read()
    assert process.wait(timeout=60) == 130
    assert time.monotonic() - began < 30
    assert rest.endswith("chatglm-evaluate: stopped\n")
    process.stderr.close()


# An independent oracle.


@pytest.mark.oracle
def test_perplexity_of_transformers(tmp_path: Path) -> None:
    """Hugging Face's guide, run with transformers on the same weights."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from glm_oracle import oracle

    model = TinyModel()
    weights = model.weights(seed=5)
    folder = write_folder(tmp_path / "tiny", model, weights)
    pipeline = Pipeline(
        convert(folder, tmp_path / "tiny.gguf", "f32", progress=False), kv_dtype="f32"
    )
    network = oracle(model, weights)
    prefix = pipeline.tokenizer.encode("")
    ids = pipeline.tokenizer.encode(TEXT, add_special_tokens=False)
    window, stride = 48, 20
    nll_sum, count, previous_end = 0.0, 0, 0
    for begin in range(0, len(ids), stride):
        end = min(begin + window - len(prefix), len(ids))
        input_ids = torch.tensor([prefix + ids[begin:end]])
        target_ids = input_ids.clone()
        target_ids[:, : -(end - previous_end)] = -100
        with torch.no_grad():
            loss = network(input_ids, labels=target_ids).loss
        nll_sum += float(loss) * (end - previous_end)
        count += end - previous_end
        previous_end = end
        if end == len(ids):
            break
    result, _ = perplexity(pipeline, TEXT, window=window, stride=stride)
    assert result.tokens == count
    assert result.nll.mean == pytest.approx(nll_sum / count, rel=1e-5)
