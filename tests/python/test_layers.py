"""The layer check passes on the tree and catches each kind of violation in a made-up one."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_SCRIPT = _ROOT / "tools" / "check_layers.py"


@pytest.fixture(scope="module")
def check_layers() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_layers", _SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _make_tree(root: Path, files: dict[str, str]) -> Path:
    # Targets for the includes of the cases below.
    for module in ("base", "gguf", "tokenizer", "kernels", "model", "chat"):
        files.setdefault(f"{module}/known.h", "#pragma once\n")
    for name, text in files.items():
        path = root / "csrc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def test_the_tree_keeps_the_rules(check_layers: ModuleType) -> None:
    assert check_layers.check_tree(_ROOT) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("model/a.cc", '#include "base/known.h"\n#include "kernels/known.h"\n'),
        ("tokenizer/a.cc", '#include "gguf/known.h"\n'),
        ("chat/a.cc", '#include "tokenizer/known.h"\n'),
        ("base/env.cc", 'auto value = std::getenv("X");\n'),
        ("base/a.cc", '// getenv() and #include "model/known.h"\nauto s = "printf(";\n'),
        (
            "base/a.cc",
            '/*\n#include "model/known.h"\n*/ auto c = \'"\'; // "\nint exit_code(int);\n',
        ),
        ("kernels/cpu/isa_avx2.cc", "#include <immintrin.h>\n"),
        ("kernels/a.h", "// of a model's tokens\nint page_tokens;\nnamespace chatglm {}\n"),
        ("cli/a.cc", "int main() { std::cout << 1; exit(2); }\n"),
        (
            "model/CMakeLists.txt",
            "chatglm_module(model SOURCES a.cc DEPENDS kv) # DEPENDS x\n",
        ),
    ],
)
def test_good_code_passes(check_layers: ModuleType, tmp_path: Path, name: str, text: str) -> None:
    assert check_layers.check_tree(_make_tree(tmp_path, {name: text})) == []


@pytest.mark.parametrize(
    ("name", "text", "line", "message"),
    [
        ("base/a.h", '\n#include "model/known.h"\n', 2, "base may not include model"),
        ("kernels/a.cc", '#include "gguf/known.h"\n', 1, "kernels may not include gguf"),
        ("gguf/a.cc", '#include "tokenizer/known.h"\n', 1, "gguf may not include tokenizer"),
        ("model/a.cc", '#include "chat/known.h"\n', 1, "model may not include chat"),
        ("engine/a.cc", '#include "tokenizer/known.h"\n', 1, "engine may not include tokenizer"),
        ("model/a.cc", '#include "known.h"\n', 1, "not of the form"),
        ("model/a.cc", '#include "base/gone.h"\n', 1, "does not exist"),
        ("model/a.cc", "int x;\nauto v = getenv(name);\n", 2, "base/env.cc only"),
        ("model/a.cc", "#include <immintrin.h>\n", 1, "isa_*.cc"),
        ("kernels/cpu/select.cc", "#include <arm_neon.h>\n", 1, "isa_*.cc"),
        ("kernels/cpu/body_x.h", "#include <vector>\n", 1, "no standard templates"),
        ("kernels/a.h", "int glm_size;\n", 1, "kernels know no 'glm'"),
        ("kernels/a.h", "/* a\n b */ struct PromptTable;\n", 2, "kernels know no 'Prompt'"),
        ("engine/a.cc", "std::cerr << 1;\n", 1, "never prints"),
        ("engine/a.cc", "std::abort();\n", 1, "never prints"),
        ("kernels/cuda/a.cu", "kernel<<<1, 2>>>();\n", 1, "started by launch()"),
        ("newmodule/a.cc", "int x;\n", 1, "not in the list of modules"),
        (
            "kv/CMakeLists.txt",
            "chatglm_module(kv\n DEPENDS base\n model)",
            3,
            "link model",
        ),
    ],
)
def test_violations_are_found(
    check_layers: ModuleType, tmp_path: Path, name: str, text: str, line: int, message: str
) -> None:
    found = check_layers.check_tree(_make_tree(tmp_path, {name: text}))
    assert len(found) == 1, found
    assert found[0].startswith(f"{Path('csrc') / name}:{line}: ")
    assert message in found[0]


def test_exit_code_and_output(tmp_path: Path) -> None:
    def run(root: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(_SCRIPT), str(root)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    missing = run(tmp_path)
    assert missing.returncode == 1
    assert "expected a folder" in missing.stdout
    _make_tree(tmp_path, {})
    assert run(tmp_path).stdout == "layers: all rules kept\n"
    _make_tree(tmp_path, {"base/a.h": '#include "model/known.h"\n'})
    assert run(tmp_path).returncode == 1
