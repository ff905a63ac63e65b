"""Time the true 6B shape on a GPU with chatglm-bench, and put what was measured into one table.

``measure`` runs the program once for each type of the weights and each kind of test, and keeps what
it says as JSON in the results folder. ``table`` reads whatever is there, that of ``gpu_peer.py``
too. Used by ``gpu_check.sh``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DTYPES = ("q4_0", "q8_0", "f16")
SHAPE = "chatglm3-6b-32k"
DECODED = 64
BATCHES = (1, 8, 64)
# The last one with the tokens decoded there is 32,768 positions.
DEPTHS = (0, 8192, 32768 - DECODED)
PROMPTS = (512, 2048, 8192)
PROMPT_ROWS = 2048


@dataclass(frozen=True)
class Run:
    """One run of chatglm-bench: a file of results."""

    name: str
    options: tuple[str, ...]


def runs() -> Iterator[Run]:
    """Yield the runs, those that the table needs most first."""
    for dtype in DTYPES:
        shape = ("--synthetic", SHAPE, "--dtype", dtype)
        # A depth of its own each: where a cache does not fit, the others are still measured.
        for depth in DEPTHS:
            batches = ",".join(map(str, BATCHES))
            yield Run(
                f"decode-{dtype}-d{depth}",
                (*shape, "-p", "0", "-n", str(DECODED), "-d", str(depth), "-b", batches),
            )
        for prompt in PROMPTS:
            yield Run(
                f"prefill-{dtype}-{prompt}",
                (*shape, "-p", str(prompt), "-n", "0", "--batch_rows", str(PROMPT_ROWS)),
            )


def measure(bench: str, results: Path) -> int:
    """Run everything; return how many runs failed."""
    failures = 0
    for run in runs():
        command = [bench, "--device", "cuda", "-r", "3", "-o", "json", *run.options]
        process = subprocess.run(command, capture_output=True, text=True)
        if process.returncode == 0:
            (results / f"{run.name}.json").write_text(process.stdout, encoding="utf-8")
            print(f"{run.name}: ok", flush=True)
            continue
        message = process.stderr.strip()
        print(f"{run.name}: {message}", flush=True)
        if "need" in message and "free" in message:  # memory that this GPU does not have
            (results / f"{run.name}.json").write_text(json.dumps({"too_large": message}))
        else:
            failures += 1
    return failures


def load(results: Path, name: str) -> dict[str, Any]:
    """Return what a run said, nothing where it said nothing."""
    file = results / f"{name}.json"
    if not file.is_file():
        return {}
    report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return report


def row_cells(row: dict[str, Any]) -> tuple[str, str]:
    """Return a measured row's tokens a second and its share of the ceiling."""
    rate = row["tokens_per_second"]
    cell = f"{rate['median']:.0f} ({rate['min']:.0f} to {rate['max']:.0f})"
    return cell, f"{100 * row['fraction_of_peak']:.0f} %"


def table_lines(results: Path) -> Iterator[str]:
    """Yield the lines of the Markdown table and of what stands before it."""
    reports = [load(results, run.name) for run in runs()]
    measured = [report for report in reports if "rows" in report]
    peer = load(results, "transformers")
    if measured:
        yield f"{measured[0]['machine']}, shape {SHAPE}, f16 cache"
        ceilings = [report["ceilings"][0] for report in measured]
        copied = max(ceiling["copy_bytes_per_second"] for ceiling in ceilings)
        rate = max(ceiling["operations_per_second"] for ceiling in ceilings)
        yield (
            f"measured in these runs: copy bandwidth {copied * 1e-9:.0f} GB/s, "
            f"{measured[0]['peak']} {rate * 1e-12:.0f} TFLOP/s"
        )
    if "bf16_flops_per_second" in peer:
        rate = peer["bf16_flops_per_second"] * 1e-12
        copied = peer["copy_bytes_per_second"] * 1e-9
        yield f"torch {peer['torch']}: bf16 product {rate:.0f} TFLOP/s, copy {copied:.0f} GB/s"
    yield ""
    yield (
        "| weights | test | tokens/s (median, range) | of the measured ceiling "
        "| transformers bf16 |"
    )
    yield "|---|---|---:|---:|---:|"
    peers = {row["test"]: f"{row['tokens_per_second']:.0f}" for row in peer.get("rows", [])}
    for run in runs():
        report = load(results, run.name)
        dtype = run.name.split("-")[1]
        if "rows" not in report:
            reason = "does not fit" if "too_large" in report else "not measured"
            yield f"| {dtype} | {run.name} | {reason} | | |"
            continue
        for row in report["rows"]:
            rate_cell, share = row_cells(row)
            # What transformers computes in bf16 stands beside the type that is as large.
            other = peers.get(row["test"], "") if dtype == "f16" else ""
            yield f"| {dtype} | {row['test']} | {rate_cell} | {share} | {other} |"
    yield ""
    yield (
        "Decode: of the copy bandwidth, by the weights and keys and values that a step reads. "
        "Prefill: of the bf16 matrix rate."
    )


def main(arguments: Sequence[str]) -> int:
    """Run the command that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure", help="run chatglm-bench")
    measuring.add_argument("--bench", required=True, help="the program chatglm-bench")
    writing = commands.add_parser("table", help="write the table to the standard output")
    for command in (measuring, writing):
        command.add_argument("--results", type=Path, required=True, help="folder of the results")
    options = parser.parse_args(arguments)
    if options.command == "measure":
        return 1 if measure(options.bench, options.results) else 0
    for line in table_lines(options.results):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
