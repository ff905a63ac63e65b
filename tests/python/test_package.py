"""The package as an installed thing: names, version, types, examples, programs."""

from __future__ import annotations

import doctest
import importlib
import importlib.metadata
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import chatglm_cpp

MODULES = sorted(
    module.name
    for module in pkgutil.iter_modules(chatglm_cpp.__path__, "chatglm_cpp.")
    if module.name != "chatglm_cpp._core"
)


def test_public_names() -> None:
    assert len(chatglm_cpp.__all__) == len(set(chatglm_cpp.__all__))
    for name in chatglm_cpp.__all__:
        assert hasattr(chatglm_cpp, name)


def test_exceptions() -> None:
    for name in chatglm_cpp.__all__:
        if name.endswith("Error"):
            assert issubclass(getattr(chatglm_cpp, name), chatglm_cpp.ChatGLMError)
    for error in (
        chatglm_cpp.ContextLengthError,
        chatglm_cpp.InvalidArgumentError,
        chatglm_cpp.ModelFileError,
    ):
        assert issubclass(error, ValueError)


def test_version_has_one_source(repository: Path) -> None:
    cmake = (repository / "CMakeLists.txt").read_text(encoding="utf-8")
    version = re.search(r"project\(chatglm_cpp VERSION ([0-9.]+)", cmake)
    assert version is not None
    assert chatglm_cpp.__version__ == version[1]
    assert importlib.metadata.version("chatglm_cpp") == version[1]


@pytest.mark.parametrize("name", ["chatglm_cpp", *MODULES])
def test_examples_in_the_documentation(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name))
    assert results.failed == 0


def test_the_documentation_has_examples() -> None:
    modules = [importlib.import_module(name) for name in ["chatglm_cpp", *MODULES]]
    finder = doctest.DocTestFinder(exclude_empty=True)
    examples = sum(len(test.examples) for module in modules for test in finder.find(module))
    assert examples > 20


def test_the_type_stub_is_that_of_the_module() -> None:
    command = [sys.executable, "-m", "mypy.stubtest", "chatglm_cpp._core"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_package_is_typed() -> None:
    assert (Path(chatglm_cpp.__file__).parent / "py.typed").is_file()


def test_importing_needs_no_framework() -> None:
    program = (
        "import sys, chatglm_cpp, chatglm_cpp.convert\n"
        "print(*{'torch', 'transformers', 'safetensors'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_importing_is_quick_about_the_converter() -> None:
    command = [sys.executable, "-c", "import sys, chatglm_cpp; print('gguf' in sys.modules)"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_the_converter_is_a_module_and_a_program() -> None:
    for entry in importlib.metadata.entry_points(group="console_scripts"):
        if entry.name == "chatglm-convert":
            assert callable(entry.load())
            break
    else:
        pytest.fail("no program chatglm-convert")
    command = [sys.executable, "-m", "chatglm_cpp.convert", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert "--type" in result.stdout or "-t" in result.stdout
