"""benchmarks/gpu_check.sh and its table, as far as they go without a GPU."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
BASH = shutil.which("bash")

pytestmark = pytest.mark.skipif(
    not BENCHMARKS.is_dir() or BASH is None or os.name != "posix",
    reason="needs a checkout and bash",
)


def check(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    assert BASH is not None
    environment = dict(os.environ) | ({"PATH": path} if path is not None else {})
    return subprocess.run(
        [BASH, str(BENCHMARKS / "gpu_check.sh"), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "expected a folder"),
        (["--fast", "results"], "--fast"),
        (["one", "two"], "'one' and 'two'"),
        (["results", "--device", "x"], "'x'"),
        (["results", "--device"], "takes a number"),
        (["results", "--minutes", "ten"], "'ten'"),
        (["results", "--build"], "takes a folder"),
    ],
    ids=str,
)
def test_wrong_usage(arguments: list[str], said: str) -> None:
    result = check(*arguments)
    assert result.returncode == 2
    assert said in result.stderr
    assert result.stdout == ""


def test_help_tells_what_it_does() -> None:
    result = check("--help")
    assert result.returncode == 0
    assert "gpu_check.sh RESULTS" in result.stdout
    assert "#" not in result.stdout


def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    nvidia_smi = tools / "nvidia-smi"
    nvidia_smi.write_text("#!/bin/sh\necho 'No devices were found'\nexit 6\n")
    nvidia_smi.chmod(nvidia_smi.stat().st_mode | stat.S_IXUSR)
    result = check(str(tmp_path / "results"), path=f"{tools}:{os.environ['PATH']}")
    assert result.returncode == 1
    assert "there is no NVIDIA GPU 0 here" in result.stderr
    assert not (tmp_path / "results").exists()


FAKE_BENCH = """#!{python}
import json, sys
arguments = sys.argv[1:]
options = dict(zip(arguments[::2], arguments[1::2]))
if options["-d" if "-d" in options else "-p"] == "32704" and options["--dtype"] == "f16":
    sys.exit("chatglm-bench: the f16 caches of 64 sequences need 9 MiB; free are 1 MiB")
if options["--dtype"] == "q8_0":
    sys.exit("chatglm-bench: cuda: something else")
decodes = options["-n"] != "0"
batches = options["-b"].split(",") if decodes else ["1"]
name = "tg64" if decodes else "pp" + options["-p"]
rows = [
    {{
        "test": name + (f" x{{b}}" if b != "1" else ""),
        "tokens_per_second": {{"median": 100.4 * int(b), "min": 90.0, "max": 110.0}},
        "fraction_of_peak": 0.5,
    }}
    for b in batches
]
ceiling = {{"copy_bytes_per_second": 4e12, "operations_per_second": 6e14}}
report = {{"machine": "A GPU", "peak": "bf16", "ceilings": [ceiling], "rows": rows}}
print(json.dumps(report))
"""


def test_the_table_has_what_was_measured_and_says_what_was_not(tmp_path: Path) -> None:
    bench = tmp_path / "bench"
    bench.write_text(FAKE_BENCH.format(python=sys.executable))
    bench.chmod(bench.stat().st_mode | stat.S_IXUSR)
    script = [sys.executable, str(BENCHMARKS / "gpu_report.py")]
    measured = subprocess.run(
        [*script, "measure", "--bench", str(bench), "--results", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert measured.returncode == 1, "runs of q8_0 failed"
    assert "decode-q8_0-d0: chatglm-bench: cuda: something else" in measured.stdout

    peer = {
        "torch": "9.9",
        "bf16_flops_per_second": 7.9e14,
        "copy_bytes_per_second": 4.3e12,
        "rows": [{"test": "pp2048", "tokens_per_second": 1234.4}],
    }
    (tmp_path / "transformers.json").write_text(json.dumps(peer))
    result = subprocess.run(
        [*script, "table", "--results", str(tmp_path)], capture_output=True, text=True, check=True
    )
    lines = result.stdout.splitlines()
    assert lines[0].startswith("A GPU")
    assert "copy bandwidth 4000 GB/s, bf16 600 TFLOP/s" in lines[1]
    assert "torch 9.9: bf16 product 790 TFLOP/s, copy 4300 GB/s" in lines[2]
    assert "| q4_0 | tg64 x64 | 6426 (90 to 110) | 50 % |  |" in lines
    assert "| f16 | pp2048 | 100 (90 to 110) | 50 % | 1234 |" in lines
    assert "| f16 | decode-f16-d32704 | does not fit | | |" in lines
    assert "| q8_0 | prefill-q8_0-512 | not measured | | |" in lines


FAKE_TESTS = """#!/bin/sh
case "$*" in
  *--gtest_list_tests*)
    printf 'Running main() from gtest_main.cc\\nNorm.\\n  Works\\nType/Linear.\\n  Works/q4_0\\n'
    printf 'CudaModel.  # TypeParam = int\\n  Works\\n' ;;
  *--gtest_filter=Type/Linear.\\**) echo 'Expected equality of these values'; exit 1 ;;
  *--gtest_filter=CudaModel.\\**) [ -z "$UNDER_TOOL" ] || exit 1 ;;
esac
"""
FAKE_CMAKE = """#!/bin/sh
if [ "$1" = --build ]; then
  mkdir -p "$2/tests/cpp" "$2/csrc/bench"
  cp "$FAKES/cuda_device_test" "$2/tests/cpp/"
  cp "$FAKES/chatglm-bench" "$2/csrc/bench/"
else
  case "$*" in *CHATGLM_BUILD_TESTS=ON*)
    if [ -n "$NO_GOOGLETEST" ]; then echo 'The C++ tests need GoogleTest'; exit 1; fi ;;
  esac
  case "$*" in *CMAKE_CUDA_ARCHITECTURES=90-real*) ;; *) exit 3 ;; esac
fi
"""
FAKE_SANITIZER = """#!/bin/sh
[ "$1 $3 $4" = '--tool --error-exitcode 3' ] || exit 9
shift 4
UNDER_TOOL=1 exec "$@"
"""


@pytest.fixture
def fake_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a PATH with a GPU and all tools in it, of which none does anything."""
    tools = tmp_path / "tools"
    tools.mkdir()
    fakes = {
        "nvidia-smi": "#!/bin/sh\necho 'A GPU, 9.0, 1 MiB, 1.0'\n",
        "nvcc": "#!/bin/sh\n",
        "cmake": FAKE_CMAKE,
        "compute-sanitizer": FAKE_SANITIZER,
        "cuda_device_test": FAKE_TESTS,
        "chatglm-bench": FAKE_BENCH.format(python=sys.executable),
    }
    for name, text in fakes.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("FAKES", str(tools))
    return f"{tools}:{os.environ['PATH']}"


def test_goes_on_where_something_fails(tmp_path: Path, fake_gpu: str) -> None:
    results = tmp_path / "results"
    result = check(str(results), "--build", str(tmp_path / "build"), path=fake_gpu)
    assert result.returncode == 1
    said = result.stdout
    assert "build: ok" in said
    assert "tests: FAILED" in said
    assert "Type/Linear: exit code 1: " in said
    assert "Expected equality" in (results / "tests" / "Type-Linear.txt").read_text()
    assert "Norm: exit code" not in said
    assert "memcheck: FAILED" in said
    assert not (results / "memcheck" / "CudaModel.txt").exists(), "no kernels' own test"
    assert "| q4_0 | tg64 | 100 (90 to 110) | 50 % |" in said
    assert said.splitlines()[-1] == "failed: tests bench memcheck racecheck"
    assert (results / "log.txt").read_text().splitlines()[0].startswith("A GPU, 9.0")
    assert not (results / "build").exists()


def test_measures_without_googletest(
    tmp_path: Path, fake_gpu: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_GOOGLETEST", "1")
    result = check(str(tmp_path / "results"), path=fake_gpu)
    assert result.returncode == 1
    assert "tests, memcheck, racecheck: left out, GoogleTest is not installed" in result.stdout
    assert "| q4_0 | tg64 | 100 (90 to 110) | 50 % |" in result.stdout
    assert result.stdout.splitlines()[-1] == "failed: build bench"


def test_leaves_out_what_there_is_no_time_for(tmp_path: Path, fake_gpu: str) -> None:
    result = check(str(tmp_path / "results"), "--minutes", "0", path=fake_gpu)
    assert result.returncode == 1
    assert "build: left out, the time is up" in result.stdout
