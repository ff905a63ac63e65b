"""Compare chatglm_cpp and llama.cpp on one GGUF file, on this machine, in alternation.

Builds nothing: runs an installed ``chatglm-bench`` and an installed ``llama-cpp-python`` (which may
live in another Python, ``--llama-python``) or a given ``llama-bench``. In every round each of them
runs all tests in a process of its own, one after the other: A B A B ... The table has the medians.

    python benchmarks/compare_llama_cpp.py -m chatglm3-6b-q4_0.gguf -t 2 --figure comparison.svg
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import comparison
from comparison import Case, Comparison, Row

WORKER = Path(__file__).with_name("llama_cpp_worker.py")
KV_DTYPES = ("f32", "f16", "q8_0")


class BenchmarkError(Exception):
    """A sentence for the user."""


@dataclass
class Result:
    """What one runtime measured in one round, in the order of the cases."""

    rates: list[float | None]
    limits: list[float | None]
    name: str
    system: str
    isa: str
    notes: list[str]


def run(command: list[str], request: str = "", environment: dict[str, str] | None = None) -> Any:
    """Run a program that prints JSON; a failure becomes a sentence with its last words."""
    process = subprocess.run(
        command,
        input=request,
        capture_output=True,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    if process.returncode != 0:
        words = process.stderr.strip().splitlines()
        last = words[-1] if words else "it printed nothing"
        raise BenchmarkError(f"{command[0]} failed (exit code {process.returncode}): {last}")
    try:
        return json.loads(process.stdout)
    except json.JSONDecodeError as error:
        raise BenchmarkError(f"{command[0]} printed no JSON: {error}") from error


def parts(cases: list[Case]) -> list[list[Case]]:
    """Cases of one cache type, number of threads and depth: what one command can run."""
    groups: dict[tuple[str, int, int], list[Case]] = {}
    for case in cases:
        groups.setdefault((case.kv_dtype, case.threads, case.depth), []).append(case)
    return list(groups.values())


def tokens_of(cases: list[Case], kind: str) -> int:
    return next((case.tokens for case in cases if case.kind == kind), 0)


def listed(values: set[Any]) -> str:
    return ",".join(str(value) for value in sorted(values))


def run_ours(program: str, model: str, cases: list[Case]) -> Result:
    """One round of ``chatglm-bench``, which also measures what the machine can do."""
    command = [program, "-m", model, "-r", "1", "-o", "json"]
    command += ["-p", str(tokens_of(cases, "pp")), "-n", str(tokens_of(cases, "tg"))]
    command += ["-d", listed({case.depth for case in cases})]
    command += ["-t", listed({case.threads for case in cases})]
    command += ["--kv_dtype", listed({case.kv_dtype for case in cases})]
    report = run(command)
    measured = {(row["test"], row["threads"], row["kv_dtype"]): row for row in report["rows"]}
    rates: list[float | None] = []
    limits: list[float | None] = []
    for case in cases:
        row = measured[case.name, case.threads, case.kv_dtype]
        rate, fraction = row["tokens_per_second"]["median"], row["fraction_of_peak"]
        rates.append(rate)
        limits.append(rate / fraction if fraction > 0 else None)
    return Result(rates, limits, "chatglm_cpp", report["machine"], report["isa"], [])


def run_worker(python: str, model: str, cases: list[Case], flash_attention: str) -> Result:
    """One round of llama-cpp-python."""
    entries = [{**asdict(c), "name": c.name, "flash_attention": flash_attention} for c in cases]
    report = run([python, str(WORKER)], json.dumps({"model": model, "cases": entries}))
    limits: list[float | None] = [None] * len(cases)
    return Result(report["rates"], limits, report["name"], report["system"], "", report["errors"])


def run_llama_bench(program: str, model: str, cases: list[Case], flash_attention: str) -> Result:
    """One round of a ``llama-bench``, one command for each cache type, threads and depth."""
    rates: dict[Case, float] = {}
    name = "llama-bench"
    for group in parts(cases):
        first = group[0]
        command = [program, "-m", model, "-r", "1", "-o", "json", "-ngl", "0"]
        command += ["-p", str(tokens_of(group, "pp")), "-n", str(tokens_of(group, "tg"))]
        command += ["-d", str(first.depth), "-t", str(first.threads)]
        command += ["-ctk", first.kv_dtype, "-ctv", first.kv_dtype]
        if flash_attention != "auto":
            command += ["-fa", "1" if flash_attention == "on" else "0"]
        for row in run(command):
            name = f"llama.cpp (llama-bench {row.get('build_commit', '')})".replace(" )", ")")
            kind = "tg" if row["n_gen"] else "pp"
            for case in group:
                if case.kind == kind:
                    rates[case] = row["avg_ts"]
    measured: list[float | None] = [rates.get(case) for case in cases]
    return Result(measured, [None] * len(cases), name, "", "", [])


def run_peer(options: argparse.Namespace, cases: list[Case]) -> Result:
    """One round of llama.cpp, by whichever program there is."""
    flash_attention = options.flash_attention
    if options.llama_bench:
        return run_llama_bench(options.llama_bench, options.model, cases, flash_attention)
    return run_worker(options.llama_python, options.model, cases, flash_attention)


def numbers(lowest: int) -> Any:
    """An argparse type: whole numbers separated by commas."""

    def parse(text: str) -> list[int]:
        values = [int(part) for part in text.split(",")]
        if min(values) < lowest:
            raise argparse.ArgumentTypeError(f"{text}: expected numbers from {lowest}")
        return values

    return parse


def kv_dtypes(text: str) -> list[str]:
    for name in text.split(","):
        if name not in KV_DTYPES:
            raise argparse.ArgumentTypeError(f"{name}: expected some of {', '.join(KV_DTYPES)}")
    return text.split(",")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n")[0],
        epilog="Take a quiet machine. CHATGLM_ISA forces our instruction set.",
    )
    add = parser.add_argument
    add("-m", "--model", metavar="FILE", help="GGUF file for both")
    add("--ours", default="chatglm-bench", metavar="PATH", help="our chatglm-bench (%(default)s)")
    add("--llama-python", default=sys.executable, metavar="PATH",
        help="a Python that has llama-cpp-python (this one)")  # fmt: skip
    add("--llama-bench", metavar="PATH", help="a llama-bench, instead of llama-cpp-python")
    add("--flash-attention", default="auto", choices=["auto", "on", "off"],
        help="llama.cpp's, default: its own choice")  # fmt: skip
    add("-p", "--prompt-tokens", type=int, default=512, help="0: no such test (%(default)s)")
    add("-n", "--decode-tokens", type=int, default=64, help="0: no such test (%(default)s)")
    add("-d", "--depth", type=numbers(0), default=[0], metavar="N,...",
        help="positions already in the cache (0)")  # fmt: skip
    add("-t", "--threads", type=numbers(1), metavar="N,...", help="of both (the cores of this CPU)")
    add("--kv-dtype", type=kv_dtypes, default=["f16"], metavar="TYPE,...",
        help="f32, f16 or q8_0 (f16)")  # fmt: skip
    add("-r", "--rounds", type=int, default=3, help="of A B (%(default)s)")
    add("--quick", action="store_true", help="-p 64 -n 8 -r 1: does it work here?")
    add("--json", type=Path, metavar="FILE", help="write all that was measured")
    add("--figure", type=Path, metavar="FILE", help="draw .svg or .png (needs matplotlib)")
    add("--from-json", type=Path, metavar="FILE", help="measure nothing: print and draw this again")
    return parser


def check(options: argparse.Namespace) -> None:
    """Find out before an hour of measuring what would be missing after it."""
    if options.figure and importlib.util.find_spec("matplotlib") is None:
        raise BenchmarkError("--figure needs matplotlib: pip install matplotlib")
    for path in (options.json, options.figure):
        if path and not path.absolute().parent.is_dir():
            raise BenchmarkError(f"{path}: there is no folder {path.absolute().parent}")
    if options.from_json:
        return
    if not options.model:
        raise BenchmarkError("give a model: -m FILE")
    if not Path(options.model).is_file():
        raise BenchmarkError(f"{options.model}: there is no such file")
    peer = options.llama_bench or options.llama_python
    for program in (options.ours, peer):
        if shutil.which(program) is None:
            raise BenchmarkError(f"{program}: there is no such program")
    if options.prompt_tokens + options.decode_tokens <= 0 or options.rounds < 1:
        raise BenchmarkError("nothing to measure: give tokens (-p or -n) and a round (-r)")


def make_cases(options: argparse.Namespace) -> list[Case]:
    return [
        Case(kind, tokens, depth, kv_dtype, threads)
        for threads in options.threads or [os.cpu_count() or 1]
        for kv_dtype in options.kv_dtype
        for depth in options.depth
        for kind, tokens in (("pp", options.prompt_tokens), ("tg", options.decode_tokens))
        if tokens > 0
    ]


def measure(options: argparse.Namespace) -> Comparison:
    """All rounds; Ctrl-C keeps those that are complete."""
    cases = make_cases(options)
    rows = [Row(case) for case in cases]
    result = Comparison(Path(options.model).name, platform.machine(), "", "", "", "", rows)
    for number in range(1, options.rounds + 1):
        try:
            print(f"round {number} of {options.rounds}: ours", file=sys.stderr, flush=True)
            ours = run_ours(options.ours, options.model, cases)
            print(f"round {number} of {options.rounds}: llama.cpp", file=sys.stderr, flush=True)
            peer = run_peer(options, cases)
        except KeyboardInterrupt:
            if number == 1:
                raise
            result.notes.append(f"interrupted after {number - 1} of {options.rounds} rounds")
            break
        for at, row in enumerate(rows):
            row.ours.append(ours.rates[at])
            row.peer.append(peer.rates[at])
            limit = ours.limits[at]
            if limit is not None:
                row.limits.append(limit)
        result.machine, result.isa, result.ours_name = ours.system, ours.isa, ours.name
        result.peer_name, result.peer_system = peer.name, peer.system
        result.notes += [note for note in peer.notes if note not in result.notes]
    return result


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, or 1 with a sentence; 130 after Ctrl-C in the first round."""
    options = make_parser().parse_args(arguments)
    if options.quick:
        options.prompt_tokens, options.decode_tokens, options.rounds = 64, 8, 1
    try:
        check(options)
        if options.from_json:
            result = comparison.from_json(json.loads(options.from_json.read_text("utf-8")))
        else:
            result = measure(options)
        print(comparison.markdown(result), end="")
        if options.json:
            options.json.write_text(
                json.dumps(comparison.to_json(result), indent=1) + "\n", "utf-8"
            )
        if options.figure:
            comparison.draw(result, options.figure)
    except (BenchmarkError, OSError, ValueError, KeyError) as error:
        print(f"compare_llama_cpp: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("compare_llama_cpp: interrupted, no round is complete", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
