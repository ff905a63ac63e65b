"""Check that the C++ modules under ``csrc/`` keep to the rules of ``docs/architecture.md``.

Usage: ``python tools/check_layers.py [ROOT]``. Prints one line for every violation and exits with 1
if there is any. The rules are the tables below; comments and string literals are never looked at.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

# Lowest first. A file may include its own module and those of lower levels.
LEVELS = [
    {"base"},
    {"tensor"},
    {"gguf", "kernels", "sampling", "tokenizer"},
    {"backend", "chat"},
    {"kv"},
    {"model"},
    {"engine"},
    {"pipeline"},
    {"cli", "bench", "bind"},
]
LEVEL_OF = {module: level for level, modules in enumerate(LEVELS) for module in modules}

# On one level and yet allowed: a tokenizer is read from a GGUF file.
ALSO_ALLOWED = {("tokenizer", "gguf")}

# Lower and yet not allowed: the numeric side knows numbers only, no text.
NOT_ALLOWED = {
    (module, other)
    for module in ("backend", "kv", "model", "engine")
    for other in ("tokenizer", "chat")
} | {("engine", "gguf"), ("kv", "gguf"), ("backend", "gguf")}

PROGRAMS = {"cli", "bench", "bind"}


class TextRule(NamedTuple):
    """A pattern that stands in the code of some files only."""

    applies_to: tuple[str, ...]  # patterns of paths below csrc/
    except_in: tuple[str, ...]
    pattern: re.Pattern[str]
    message: str


TEXT_RULES = [
    TextRule(
        ("*",),
        ("base/env.cc",),
        re.compile(r"\b(?:secure_)?getenv(?:_s)?\s*\("),
        "the environment is read in base/env.cc only",
    ),
    TextRule(
        ("*",),
        ("kernels/cpu/isa_*.cc", "kernels/cpu/*_vectors.h", "kernels/cpu/features.cc"),
        re.compile(r"#\s*include\s*<(?:\w*mmintrin|x86intrin|arm_neon|arm_sve|arm_acle)\.h>"),
        "intrinsics are for kernels/cpu/isa_*.cc and the vectors that two of them share",
    ),
    TextRule(
        ("*",),
        tuple(f"{module}/*" for module in PROGRAMS),
        re.compile(r"\bstd::c(?:out|err)\b|(?<![\w.>])(?:printf|puts|abort|_?exit)\s*\("),
        "the library never prints, aborts or exits",
    ),
    TextRule(
        ("*",),
        (),
        re.compile(r"<<<"),
        "kernels are started by launch() of kernels/cuda/launch.cuh",
    ),
    # Standard templates would be compiled for the instruction set, and the linker might keep that
    # copy for everybody.
    TextRule(
        ("kernels/cpu/isa_*.cc", "kernels/cpu/body_*.h"),
        (),
        re.compile(r"#\s*include\s*<(?:algorithm|array|functional|memory|string|vector|span)>"),
        "no standard templates in code that is compiled for one instruction set",
    ),
]

# Kernels know no model and no text. Words are the parts of identifiers. "token" and "layer" may
# stay: they are the units of the paged cache (`page_tokens`).
KERNEL_WORDS = {
    *("chat", "chatglm2", "chatglm3", "conversation", "glm", "llama", "model", "prompt"),
    *("sentencepiece", "tokenizer", "transformer", "vocabulary"),
}

# In this order: a comment may hold a quote, a string may hold slashes.
_NOT_CODE = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.DOTALL)
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"\n]+)"', re.MULTILINE)
_WORD = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")
_DEPENDS = re.compile(r"\bDEPENDS\b([^)]*)\)")
_SUFFIXES = {".h", ".cc", ".cu", ".cuh"}


def code_only(text: str) -> str:
    """Return the text with comments and literals blanked, lines and includes kept."""

    def blank(match: re.Match[str]) -> str:
        found = match.group()
        if found.startswith('"') and _is_include_target(text, match.start()):
            return found
        return re.sub(r"[^\n]", " ", found)

    return _NOT_CODE.sub(blank, text)


def _is_include_target(text: str, position: int) -> bool:
    line = text[text.rfind("\n", 0, position) + 1 : position]
    return re.fullmatch(r"[ \t]*#[ \t]*include[ \t]*", line) is not None


def may_use(module: str, other: str) -> bool:
    """Return whether files of ``module`` may include those of ``other``."""
    if module == other or (module, other) in ALSO_ALLOWED:
        return True
    return LEVEL_OF[other] < LEVEL_OF[module] and (module, other) not in NOT_ALLOWED


def _line_of(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def check_file(path: Path, csrc: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, message) for every violation in one source file."""
    name = path.relative_to(csrc).as_posix()
    module = name.split("/")[0]
    code = code_only(path.read_text(encoding="utf-8"))

    for match in _INCLUDE.finditer(code):
        target = match.group(1)
        other = target.split("/")[0]
        line = _line_of(code, match.start(1))
        if other not in LEVEL_OF:
            yield line, f'"{target}" is not of the form "module/file.h"'
        elif not (csrc / target).is_file():
            yield line, f'"{target}" does not exist under csrc/'
        elif not may_use(module, other):
            yield line, f'{module} may not include {other} ("{target}")'

    for rule in TEXT_RULES:
        if not any(fnmatch(name, pattern) for pattern in rule.applies_to):
            continue
        if any(fnmatch(name, pattern) for pattern in rule.except_in):
            continue
        for match in rule.pattern.finditer(code):
            yield _line_of(code, match.start()), rule.message

    if module == "kernels":
        for match in _WORD.finditer(code):
            if match.group().lower() in KERNEL_WORDS:
                yield _line_of(code, match.start()), f"kernels know no '{match.group()}'"


def check_links(path: Path, module: str) -> Iterator[tuple[int, str]]:
    """Yield (line, message) for every module that a CMakeLists.txt may not link."""
    text = re.sub(r"#[^\n]*", "", path.read_text(encoding="utf-8"))
    for match in _DEPENDS.finditer(text):
        for word in re.finditer(r"\S+", match.group(1)):
            other = word.group()
            if other in LEVEL_OF and not may_use(module, other):
                line = _line_of(text, match.start(1) + word.start())
                yield line, f"{module} may not link {other}"


def check_tree(root: Path) -> list[str]:
    """Return all violations below ``root/csrc`` as printable lines."""
    csrc = root / "csrc"
    if not csrc.is_dir():
        return [f"{csrc}: expected a folder"]
    problems = []
    for path in sorted(path for path in csrc.rglob("*") if path.is_file()):
        module = path.relative_to(csrc).parts[0]
        found: Iterator[tuple[int, str]] = iter(())
        if module not in LEVEL_OF:
            found = iter([(1, f"'{module}' is not in the list of modules")])
        elif path.suffix in _SUFFIXES:
            found = check_file(path, csrc)
        elif path.name == "CMakeLists.txt":
            found = check_links(path, module)
        problems += [f"{path.relative_to(root)}:{line}: {message}" for line, message in found]
    return problems


def main(arguments: list[str]) -> int:
    """Check the tree that the first argument names, or the one this script lies in."""
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parents[1]
    problems = check_tree(root)
    for problem in problems:
        print(problem)
    if not problems:
        print("layers: all rules kept")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
