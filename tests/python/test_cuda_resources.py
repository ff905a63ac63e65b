"""The check of what CUDA kernels use reads ptxas's words and tells what is over its limit."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_SCRIPT = _ROOT / "tools" / "check_cuda_resources.py"

_SPACE = "_ZN7chatglm7kernels4cuda"
_NORM = _SPACE + "40_GLOBAL__N__2ede6f0d_11_norm_cu_ce728dd615rms_norm_kernelENS0_11RmsNormArgsE"
_TABLE = _SPACE + "12_GLOBAL__N_117rope_table_kernelENS0_13RopeTableArgsE"
_EMBED = _SPACE + "12_GLOBAL__N_112embed_kernelILNS1_5CodesE3EEEvNS2_9EmbedCallE"

_LOG = f"""\
[3/9] Building CUDA object csrc/kernels/CMakeFiles/chatglm_kernels.dir/cuda/rms_norm.cu.o
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '{_NORM}' for 'sm_80'
ptxas info    : Function properties for {_NORM}
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 32 registers, used 1 barriers, 400 bytes cmem[0]
ptxas info    : Compile time = 277.980 ms
ptxas info    : Compiling entry function '{_NORM}' for 'sm_90'
ptxas info    : Function properties for {_NORM}
    16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 30 registers, used 1 barriers
ptxas info    : Compiling entry function '{_TABLE}' for 'sm_90'
ptxas info    : Function properties for {_TABLE}
    40 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 34 registers, used 0 barriers, 40 bytes cumulative stack size
ptxas info    : Function properties for __internal_trig_reduction_slowpathd
    96 bytes stack frame, 4 bytes spill stores, 0 bytes spill loads
ptxas info    : Compiling entry function '{_EMBED}' for 'sm_90'
ptxas info    : Function properties for {_EMBED}
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 20 registers, used 0 barriers
"""

_LIMITS = """\
[DEFAULT]
registers = 255
stack_bytes = 0
spill_bytes = 0
[rms_norm_kernel]
registers = 32
stack_bytes = 16
spill_bytes = 20
[rope_table_kernel]
stack_bytes = 40
[embed_kernel]
"""


@pytest.fixture(scope="module")
def resources() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_cuda_resources", _SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _run(folder: Path, log: str, limits: str) -> subprocess.CompletedProcess[str]:
    (folder / "build.log").write_text(log, encoding="utf-8")
    (folder / "limits.ini").write_text(limits, encoding="utf-8")
    return subprocess.run(
        [sys.executable, _SCRIPT, folder / "build.log", "--limits", folder / "limits.ini"],
        capture_output=True,
        text=True,
        check=False,
    )


def test_kernels_are_found_under_their_names(resources: ModuleType) -> None:
    usages = list(resources.parse_log(_LOG.splitlines()))
    assert [(usage.name, *usage[1:]) for usage in usages] == [
        ("rms_norm_kernel", "sm_80", 32, 0, 0),
        ("rms_norm_kernel", "sm_90", 30, 16, 20),
        ("rope_table_kernel", "sm_90", 34, 40, 0),
        ("embed_kernel", "sm_90", 20, 0, 0),
    ]
    assert resources.kernel_name("_Z9my_kernelPfi") == "my_kernel"
    assert resources.kernel_name("plain_c_name") == "plain_c_name"


def test_what_is_within_its_limits_passes(tmp_path: Path) -> None:
    done = _run(tmp_path, _LOG, _LIMITS)
    assert done.returncode == 0, done.stdout
    assert "4 kernels for sm_80, sm_90: all limits kept" in done.stdout


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("registers = 32", "registers = 31", "uses 32 registers, at most 31 are allowed"),
        ("stack_bytes = 16\n", "", "uses 16 stack_bytes, at most 0 are allowed"),
        ("spill_bytes = 20", "spill_bytes = 19", "uses 20 spill_bytes, at most 19 are allowed"),
        ("[embed_kernel]", "", "embed_kernel for sm_90"),
        ("[embed_kernel]", "[embed_kernel]\n[old]", "old has limits, but no such kernel"),
        ("spill_bytes = 20", "spills = 20", "'spills' is none of registers, stack_bytes"),
    ],
)
def test_what_is_not_is_told(tmp_path: Path, before: str, after: str, told: str) -> None:
    assert before in _LIMITS
    done = _run(tmp_path, _LOG, _LIMITS.replace(before, after))
    assert done.returncode == 1
    assert told in done.stdout + done.stderr


def test_an_empty_log_and_a_lost_instruction_are_told(tmp_path: Path) -> None:
    assert "no kernel in the logs" in _run(tmp_path, "ninja: no work to do.\n", _LIMITS).stdout
    loss = "Potential Performance Loss: wgmma.mma_async instructions are serialized"
    done = _run(tmp_path, _LOG + f"ptxas info    : (C7510) {loss} due to\n", _LIMITS)
    assert done.returncode == 1
    assert loss in done.stdout


def test_the_limits_of_the_tree_can_be_read(resources: ModuleType) -> None:
    assert resources.read_limits(resources.DEFAULT_LIMITS)
