"""Fixtures that several test files share."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from chatglm_cpp import Pipeline
from tiny_checkpoint import TinyModel, write_folder

_REPOSITORY = Path(__file__).resolve().parents[2]


def pytest_addoption(parser: pytest.Parser) -> None:
    """``pytest --device cuda``: whole models run there and not on the CPU."""
    parser.addoption("--device", default="cpu", help="the device of golden models (cpu, cuda)")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    """Where golden models run."""
    return str(request.config.getoption("--device"))


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Python's own handler of Ctrl-C, and the system's in programs that tests start.

    A background job of a shell is started with the signal ignored, and would hand that on.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def without_amx(monkeypatch: pytest.MonkeyPatch) -> None:
    """``amx`` rounds f16 weights, and the inputs of all but f32 ones, where there are many rows."""
    if ", amx," in Pipeline(num_threads=1).system_info:
        monkeypatch.setenv("CHATGLM_ISA", "avx512_vnni")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the source tree."""
    return _REPOSITORY


@pytest.fixture(scope="session")
def goldens() -> Path:
    """Reference data beside the repository; a clone has none, and these tests are skipped."""
    folder = _REPOSITORY.parent / "shared" / "goldens"
    if not folder.is_dir():
        pytest.skip("no ../shared/goldens beside the repository")
    return folder


@pytest.fixture
def tiny_folder(tmp_path: Path) -> Path:
    """A whole tiny ChatGLM3 checkpoint."""
    return write_folder(tmp_path / "tiny-chatglm3", TinyModel())
