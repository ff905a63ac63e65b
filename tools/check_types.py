"""Run ``mypy --strict`` on the package, the converter, the tests and the tools.

The converter lies in ``convert/`` and is installed as ``chatglm_cpp.convert``, so the package is
put together in a temporary folder first. Usage: ``python tools/check_types.py``; needs mypy and
what the package and its tests import. Exits with mypy's code.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Each folder is checked by itself, since scripts of two folders may have one name.
SCRIPT_FOLDERS = ["tests/python", "tools", "benchmarks"]


def run_mypy(package_parent: Path, arguments: list[str]) -> int:
    """Run mypy with the project's settings; return its exit code."""
    command = [sys.executable, "-m", "mypy", "--strict"]
    command += ["--config-file", str(ROOT / "pyproject.toml")]
    command += ["--cache-dir", str(ROOT / ".mypy_cache")]
    environment = {**os.environ, "MYPYPATH": str(package_parent)}
    print("mypy --strict", *arguments[:2], "..." if len(arguments) > 2 else "", flush=True)
    # Away from the root: the settings' mypy_path must not find a second copy of the package.
    return subprocess.run(command + arguments, env=environment, cwd=package_parent).returncode


def main() -> int:
    """Check the package as it is installed, then the scripts around it."""
    with tempfile.TemporaryDirectory() as folder:
        package_parent = Path(folder)
        package = package_parent / "chatglm_cpp"
        ignore = shutil.ignore_patterns("__pycache__", "*.so", "*.pyd")
        shutil.copytree(ROOT / "python" / "chatglm_cpp", package, ignore=ignore)
        shutil.copytree(ROOT / "convert", package / "convert", ignore=ignore)
        codes = [run_mypy(package_parent, ["--package", "chatglm_cpp"])]
        for name in SCRIPT_FOLDERS:
            if scripts := sorted(str(path) for path in (ROOT / name).glob("*.py")):
                # Frameworks that serve as oracles need not be installed.
                codes.append(run_mypy(package_parent, ["--ignore-missing-imports", *scripts]))
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
