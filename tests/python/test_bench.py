"""chatglm-bench on a small synthetic shape: rows, formats, errors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest


def bench(*arguments: str, isa: str | None = None) -> subprocess.CompletedProcess[str]:
    program = shutil.which("chatglm-bench")
    assert program is not None, "chatglm-bench is not on PATH"
    environment = dict(os.environ) | ({"CHATGLM_ISA": isa} if isa else {})
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, timeout=300, env=environment
    )


SMALL = ("--synthetic", "tiny", "-p", "32", "-n", "8", "-r", "3", "-t", "1")


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0"])
@pytest.mark.parametrize("shape", ["tiny", "tiny-glm4"])
def test_json_rows_are_complete_and_consistent(shape: str, dtype: str) -> None:
    result = bench(*SMALL, "--synthetic", shape, "--dtype", dtype, "-d", "100", "-o", "json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    (ceiling,) = report["ceilings"]
    assert ceiling["threads"] == 1
    assert report["isa"] in {
        "amx",
        "avx512_vnni",
        "avx_vnni",
        "avx2",
        "neon_dotprod",
        "neon",
        "generic",
    }
    assert ceiling["read_bytes_per_second"] > 1e8
    assert ceiling["operations_per_second"] > 1e8
    assert report["peak_rss_bytes"] > 1e6
    prefill, decode = report["rows"]
    assert (prefill["test"], decode["test"]) == ("pp32 @ d100", "tg8 @ d100")
    for row in (prefill, decode):
        rate = row["tokens_per_second"]
        assert 0 < rate["min"] <= rate["median"] <= rate["max"]
        assert rate["repetitions"] == 3
        assert 1e6 < row["peak_rss_bytes"] <= report["peak_rss_bytes"]
    # Bytes of a decoded token: every matrix but the embedding, and the cache of ~104 positions.
    weights = 2 * (256 * 512 + 256 * 256 + 3 * 256 * 704) + 1024 * 256
    bits = {"f32": 32, "f16": 16, "bf16": 16, "q8_0": 8.5, "q4_0": 4.5, "q4_1": 5, "q5_0": 5.5}[
        dtype
    ]
    cache = (100 + 4.5) * 2 * 2 * 2 * 64 * 2
    assert decode["bytes_per_token"] == pytest.approx(weights * bits / 8 + cache, rel=0.02)
    rate = decode["tokens_per_second"]["median"]
    assert decode["bytes_per_second"] == pytest.approx(decode["bytes_per_token"] * rate, rel=1e-3)


def test_the_first_generations_shape() -> None:
    result = bench(*SMALL, "--synthetic", "tiny-chatglm-6b", "--dtype", "f16", "-o", "json")
    assert result.returncode == 0, result.stderr
    prefill, decode = json.loads(result.stdout)["rows"]
    layer = 256 * 768 + 256 * 256 + 2 * 256 * 704
    assert decode["bytes_per_token"] == pytest.approx(2 * (2 * layer + 1024 * 256), rel=0.02)
    assert prefill["flops_per_token"] == pytest.approx(2 * 2 * layer, rel=0.05)


def test_lists_of_threads_depths_batches_and_cache_types() -> None:
    result = bench(
        *("--synthetic", "tiny", "-p", "16", "-n", "4", "-r", "2", "-o", "json"),
        *("-t", "1,2", "-d", "0,40", "-b", "1,8", "--kv_dtype", "f16,q8_0"),
    )
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert [ceiling["threads"] for ceiling in report["ceilings"]] == [1, 2]
    tests = [(row["threads"], row["kv_dtype"], row["test"]) for row in report["rows"]]
    assert tests == [
        (threads, kv_dtype, test + suffix)
        for threads in (1, 2)
        for kv_dtype in ("f16", "q8_0")
        for suffix in ("", " @ d40")
        for test in ("pp16", "tg4", "tg4 x8")
    ]
    one, eight = report["rows"][1:3]
    # Eight sequences read the weights once and each its own few positions.
    assert one["bytes_per_token"] / 8 < eight["bytes_per_token"] < one["bytes_per_token"] / 7


def test_guesses_save_reading() -> None:
    result = bench(
        *("--synthetic", "tiny", "-p", "0", "-n", "20", "-r", "1", "-o", "json", "-t", "1"),
        *("--speculative", "0,4", "--acceptance", "1", "-b", "1,2"),
    )
    assert result.returncode == 0, result.stderr
    rows = json.loads(result.stdout)["rows"]
    assert [row["test"] for row in rows] == [
        "tg20",
        "tg20 +4 guesses",
        "tg20 x2",
        "tg20 x2 +4 guesses",
    ]
    assert [row["guesses"] for row in rows] == [0, 4, 0, 4]
    for plain, guessed in zip(rows[::2], rows[1::2], strict=True):
        assert guessed["bytes_per_token"] == pytest.approx(plain["bytes_per_token"] / 5, abs=1)


def test_kernels() -> None:
    isa = json.loads(bench(*SMALL, "-o", "json").stdout)["isa"]
    options = ("--dtype", "q4_0", "--isa", isa, "-t", "1", "-r", "1")
    result = bench("kernels", *options)
    assert result.returncode == 0, result.stderr
    for start in (f"| linear 1 x 4096 | q4_0 | {isa} | 1 |", f"| attention 512 | q8_0 | {isa} | 1"):
        assert start in result.stdout


def test_markdown_table() -> None:
    result = bench(*SMALL)
    assert result.returncode == 0, result.stderr
    assert "| pp32 |" in result.stdout
    assert "| tg8 |" in result.stdout
    assert "read bandwidth" in result.stdout


def test_a_forced_isa_is_the_one_that_runs() -> None:
    result = bench(*SMALL, "-o", "json", isa="generic")
    assert json.loads(result.stdout)["isa"] == "generic"


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ([], 2, "-m FILE or --synthetic SHAPE"),
        (["--synthetic", "tiny", "-p", "0", "-n", "0"], 2, "nothing to measure"),
        (["--synthetic", "tiny", "--dtype", "q9"], 2, "--dtype"),
        (["--repetition", "3"], 2, "did you mean --repetitions?"),
        (["--synthetic", "chatglm9"], 1, "chatglm3-6b"),
        (["kernels", "--isa", "z80"], 2, "--isa"),
        (["--synthetic", "tiny", "-b", "1,0"], 2, "-b expects a whole number from 1"),
        (["-m", "missing.gguf"], 1, "missing.gguf"),
        (["--synthetic", "tiny", "-d", "100000"], 1, "positions"),
    ],
)
def test_errors_are_sentences(arguments: list[str], code: int, sentence: str) -> None:
    result = bench(*arguments)
    assert result.returncode == code
    assert sentence in result.stderr
    assert result.stdout == ""
