"""Check what every CUDA kernel uses against the limits in ``csrc/kernels/cuda/limits.ini``.

Usage: ``python tools/check_cuda_resources.py BUILD_LOG... [--limits FILE]``. The logs are what a
clean build with ``-DCMAKE_CUDA_FLAGS=-Xptxas=-v`` prints. Prints one line for every kernel that is
over a limit or has none, and for every limit without a kernel, and exits with 1 if there is any.
"""

from __future__ import annotations

import argparse
import configparser
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

DEFAULT_LIMITS = Path(__file__).resolve().parents[1] / "csrc/kernels/cuda/limits.ini"

QUANTITIES = ("registers", "stack_bytes", "spill_bytes")

_COMPILING = re.compile(r"Compiling entry function '([^']+)' for '([^']+)'")
_PROPERTIES = re.compile(r"Function properties for (\S+)")
_STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_REGISTERS = re.compile(r"Used (\d+) registers")
# What ptxas says where it could not do what the code asks for, such as keeping wgmma asynchronous.
_LOSS = re.compile(r"Potential Performance Loss:.*")


class Usage(NamedTuple):
    """What one kernel uses on one architecture."""

    symbol: str
    architecture: str
    registers: int
    stack_bytes: int
    spill_bytes: int  # stored and loaded

    @property
    def name(self) -> str:
        """Return the kernel's name in the source, without namespaces and template arguments."""
        return kernel_name(self.symbol)


def kernel_name(symbol: str) -> str:
    """Return the last identifier of a mangled function name (Itanium ABI)."""
    match = re.match(r"_ZN?K?", symbol)
    if match is None:
        return symbol
    name, position = "", match.end()
    while digits := re.match(r"\d+", symbol[position:]):
        position += digits.end()
        name = symbol[position : position + int(digits.group())]
        position += int(digits.group())
    return name or symbol


def parse_log(lines: Iterable[str]) -> Iterator[Usage]:
    """Yield the usage of every kernel that ptxas tells of."""
    symbol = architecture = ""
    about_kernel = False
    stack_bytes = spill_bytes = 0
    for line in lines:
        if match := _COMPILING.search(line):
            symbol, architecture = match.groups()
            stack_bytes = spill_bytes = 0
        elif match := _PROPERTIES.search(line):
            # Functions that a kernel calls are told of too; the kernel's own frame is what counts.
            about_kernel = match.group(1) == symbol
        elif (match := _STACK.search(line)) and about_kernel:
            stack_bytes = int(match.group(1))
            spill_bytes = int(match.group(2)) + int(match.group(3))
        elif (match := _REGISTERS.search(line)) and symbol:
            yield Usage(symbol, architecture, int(match.group(1)), stack_bytes, spill_bytes)
            symbol = ""


def parse_losses(lines: Iterable[str]) -> Iterator[str]:
    """Yield what ptxas says of code that it could not compile as it was meant."""
    for line in lines:
        if match := _LOSS.search(line):
            yield match.group()


def read_limits(path: Path) -> dict[str, dict[str, int]]:
    """Return the limits of every kernel in a limits file."""
    parser = configparser.ConfigParser()
    with path.open(encoding="utf-8") as file:
        parser.read_file(file)
    limits: dict[str, dict[str, int]] = {}
    for name in parser.sections():
        limits[name] = {}
        for quantity, most in parser[name].items():
            if quantity not in QUANTITIES:
                expected = ", ".join(QUANTITIES)
                raise SystemExit(f"{path}: {name}: '{quantity}' is none of {expected}")
            limits[name][quantity] = int(most)
    return limits


def check(usages: Iterable[Usage], limits: dict[str, dict[str, int]]) -> list[str]:
    """Return every difference between what is used and what may be, as printable lines."""
    problems = []
    seen = set()
    for usage in usages:
        seen.add(usage.name)
        where = f"{usage.name} for {usage.architecture} ({usage.symbol})"
        if usage.name not in limits:
            problems.append(
                f"{where} has no limits: it uses {usage.registers} registers, "
                f"{usage.stack_bytes} bytes of stack and {usage.spill_bytes} of spills"
            )
            continue
        for quantity, most in limits[usage.name].items():
            used = getattr(usage, quantity)
            if used > most:
                problems.append(f"{where} uses {used} {quantity}, at most {most} are allowed")
    problems += [
        f"{name} has limits, but no such kernel was compiled" for name in limits if name not in seen
    ]
    return problems


def summarize(usages: Iterable[Usage]) -> list[str]:
    """Return the most that each kernel uses on any architecture, as printable lines."""
    most: dict[str, Usage] = {}
    for usage in usages:
        known = most.get(usage.name)
        if known is None or usage.registers > known.registers:
            most[usage.name] = usage
    return [
        f"{usage.registers:5d} registers  {usage.name} ({usage.architecture})"
        for usage in sorted(most.values(), key=lambda usage: -usage.registers)
    ]


def main(arguments: list[str]) -> int:
    """Check the logs named on the command line."""
    parser = argparse.ArgumentParser(description="Check the resources of CUDA kernels.")
    parser.add_argument("logs", nargs="+", type=Path, help="output of builds with -Xptxas=-v")
    parser.add_argument("--limits", type=Path, default=DEFAULT_LIMITS, help="the limits file")
    options = parser.parse_args(arguments)

    lines = []
    for log in options.logs:
        lines += log.read_text(encoding="utf-8", errors="replace").splitlines()
    usages = list(parse_log(lines))
    if not usages:
        print("no kernel in the logs: was it a clean build with -Xptxas=-v?")
        return 1
    print("\n".join(summarize(usages)))
    problems = check(usages, read_limits(options.limits)) + sorted(set(parse_losses(lines)))
    for problem in problems:
        print(problem)
    architectures = sorted({usage.architecture for usage in usages})
    if not problems:
        print(f"{len(usages)} kernels for {', '.join(architectures)}: all limits kept")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
