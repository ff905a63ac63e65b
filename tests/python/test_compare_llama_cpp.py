"""benchmarks/compare_llama_cpp.py: arithmetic, table, figure, errors, a run on the demo model."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "compare_llama_cpp.py"
MODEL = ROOT / "models" / "chatglm3-demo-q8_0.gguf"


@pytest.fixture
def comparison(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    return importlib.import_module("comparison")


def script(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=300
    )


def sample(comparison: Any) -> Any:
    prompt = comparison.Case("pp", 512, 0, "f16", 2)
    decode = comparison.Case("tg", 64, 4096, "q8_0", 2)
    return comparison.Comparison(
        model="six.gguf",
        machine="a CPU",
        isa="avx2",
        ours_name="chatglm_cpp",
        peer_name="llama.cpp",
        peer_system="AVX2 = 1",
        rows=[
            comparison.Row(prompt, [60.0, 40.0, 50.0], [20.0, 25.0, 24.0], [70.0, 80.0, 75.0]),
            comparison.Row(decode, [8.0, 9.0], [None, None], []),
        ],
        notes=["tg64 @ d4096: no such cache"],
    )


def test_medians_and_ratios(comparison: Any) -> None:
    prompt, decode = sample(comparison).rows
    assert comparison.median(prompt.ours) == 50.0
    assert prompt.ratio == pytest.approx(50 / 24)
    assert prompt.round_ratios == pytest.approx([3.0, 1.6, 50 / 24])
    assert prompt.limit == 80.0
    # What one side could not do has no ratio.
    assert comparison.median(decode.ours) == 8.5
    assert comparison.median(decode.peer) is None
    assert (decode.ratio, decode.round_ratios, decode.limit) == (None, [], None)


def test_the_table(comparison: Any) -> None:
    text = comparison.markdown(sample(comparison))
    assert "| pp512 | 2 | f16 | 50.00 | 24.00 | 2.08x | 1.60 to 3.00 | 62 % |" in text
    assert "| tg64 @ d4096 | 2 | q8_0 | 8.50 | n/a | n/a | n/a | n/a |" in text
    assert text.endswith("\n\n- tg64 @ d4096: no such cache\n")


def test_json_keeps_all(comparison: Any) -> None:
    one = sample(comparison)
    data = json.loads(json.dumps(comparison.to_json(one)))
    assert data["rows"][0]["median"] == {"ours": 50.0, "peer": 24.0}
    assert comparison.from_json(data) == one


@pytest.mark.parametrize("name", ["figure.svg", "figure.png"])
def test_the_figure(comparison: Any, tmp_path: Path, name: str) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / name
    comparison.draw(sample(comparison), path)
    once = path.read_bytes()
    assert 1000 < len(once) < 200_000
    comparison.draw(sample(comparison), path)
    assert path.read_bytes() == once


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "give a model: -m FILE"),
        (["-m", "missing.gguf"], "missing.gguf: there is no such file"),
        (["-m", str(MODEL), "--ours", "no-such-bench"], "no-such-bench: there is no such program"),
        (["-m", str(MODEL), "--json", "/no/such/x.json"], "there is no folder /no/such"),
        (["-m", str(MODEL), "--ours", sys.executable, "-p", "0", "-n", "0"], "nothing to measure"),
        (["-m", str(MODEL), "--ours", sys.executable], "failed (exit code"),
        (["--from-json", "missing.json"], "missing.json"),
    ],
)
def test_errors_are_sentences(arguments: list[str], sentence: str) -> None:
    result = script(*arguments)
    assert (result.returncode, result.stdout) == (1, "")
    assert sentence in result.stderr.splitlines()[-1]


def test_wrong_usage() -> None:
    assert "expected some of f32, f16, q8_0" in script("--kv-dtype", "q4_0").stderr
    assert script("-t", "0").returncode == 2


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_ends_it(tmp_path: Path) -> None:
    endless = tmp_path / "endless-bench"
    endless.write_text("#!/bin/sh\nexec sleep 100\n")
    endless.chmod(0o755)
    command = [sys.executable, str(SCRIPT), "-m", str(MODEL), "--ours", str(endless)]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        assert "round 1" in process.stderr.readline()
        time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert "interrupted" in process.stderr.read()


@pytest.mark.llama_cpp
def test_both_run_the_demo_model(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    if shutil.which("chatglm-bench") is None:
        pytest.skip("chatglm-bench is not on PATH")
    path = tmp_path / "result.json"
    options = ["-p", "80", "-n", "4", "-d", "0,100", "-t", "1", "-r", "2", "--kv-dtype", "f16,q8_0"]
    result = script("-m", str(MODEL), *options, "--json", str(path))
    assert result.returncode == 0, result.stderr
    report = json.loads(path.read_text("utf-8"))
    assert report["notes"] == []
    names = ["pp80", "tg4", "pp80 @ d100", "tg4 @ d100"]
    cases = [(row["case"]["kv_dtype"], row["case"]["depth"]) for row in report["rows"]]
    assert cases == [(kv, depth) for kv in ("f16", "q8_0") for depth in (0, 0, 100, 100)]
    for name in names:
        assert f"| {name} | 1 | f16 |" in result.stdout
    for row in report["rows"]:
        assert len(row["ours"]) == len(row["peer"]) == len(row["limits"]) == 2
        assert row["ratio"] == pytest.approx(row["median"]["ours"] / row["median"]["peer"])
        assert min(row["ours"] + row["peer"]) > 0
