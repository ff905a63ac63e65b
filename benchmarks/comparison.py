"""What a comparison of two runtimes measured: medians and ratios, as a table, JSON and a figure.

Knows nothing of how the rates were measured.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Case:
    """One test, the same for both runtimes."""

    kind: str  # "pp" (a prompt at once) or "tg" (token by token)
    tokens: int
    depth: int
    kv_dtype: str
    threads: int

    @property
    def name(self) -> str:
        """As in chatglm-bench: pp512, tg64 @ d4096."""
        return f"{self.kind}{self.tokens}" + (f" @ d{self.depth}" if self.depth else "")


@dataclass
class Row:
    """A case's rates in tokens per second, one for each round; None where a runtime failed."""

    case: Case
    ours: list[float | None] = field(default_factory=list)
    peer: list[float | None] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)  # of the machine, as chatglm-bench measured

    @property
    def limit(self) -> float | None:
        return max(self.limits) if self.limits else None

    @property
    def round_ratios(self) -> list[float]:
        """Ours over the peer's, of each round in which both ran."""
        return [a / b for a, b in zip(self.ours, self.peer, strict=False) if a and b]

    @property
    def ratio(self) -> float | None:
        """Of the medians."""
        ours, peer = median(self.ours), median(self.peer)
        return ours / peer if ours and peer else None


@dataclass
class Comparison:
    """All rows of one run and what they were measured with."""

    model: str
    machine: str
    isa: str
    ours_name: str
    peer_name: str
    peer_system: str
    rows: list[Row]
    notes: list[str] = field(default_factory=list)


def median(rates: list[float | None]) -> float | None:
    """Of those that were measured."""
    known = [rate for rate in rates if rate is not None]
    return statistics.median(known) if known else None


def number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2f}"


def spread(values: list[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}" if values else "n/a"


def markdown(comparison: Comparison) -> str:
    """The table and what stands around it."""
    c = comparison
    lines = [
        f"{c.model}",
        "",
        f"{c.machine}: {c.ours_name} ({c.isa}) and {c.peer_name}, alternating; medians",
        "",
        "| test | threads | KV | ours, tokens/s | peer | ratio | in each round | of the limit |",
        "|---|---:|---|---:|---:|---:|---|---:|",
    ]
    for row in c.rows:
        ours = median(row.ours)
        share = f"{100 * ours / row.limit:.0f} %" if ours and row.limit else "n/a"
        ratio = f"{row.ratio:.2f}x" if row.ratio else "n/a"
        lines.append(
            f"| {row.case.name} | {row.case.threads} | {row.case.kv_dtype} | {number(ours)} "
            f"| {number(median(row.peer))} | {ratio} | {spread(row.round_ratios)} | {share} |"
        )
    lines += [""] + [f"- {note}" for note in c.notes] if c.notes else []
    return "\n".join(lines) + "\n"


def to_json(comparison: Comparison) -> dict[str, Any]:
    """All that was measured, with the medians and ratios beside it."""
    result = asdict(comparison)
    for row, entry in zip(comparison.rows, result["rows"], strict=True):
        entry["median"] = {"ours": median(row.ours), "peer": median(row.peer)}
        entry["ratio"] = row.ratio
    return result


def from_json(data: dict[str, Any]) -> Comparison:
    """The inverse of `to_json`."""
    rows = [
        Row(Case(**entry["case"]), entry["ours"], entry["peer"], entry["limits"])
        for entry in data["rows"]
    ]
    names = ("model", "machine", "isa", "ours_name", "peer_name", "peer_system", "notes")
    return Comparison(**{name: data[name] for name in names}, rows=rows)


# Both are read on white and on black.
OURS_COLOR, PEER_COLOR, TEXT_COLOR = "#2f81f7", "#8a7a68", "#808890"
TITLES = {"pp": "Reading a prompt", "tg": "Generating"}


def draw(comparison: Comparison, path: Path) -> None:
    """One figure: a panel for prompts and one for generation, a tick at the machine's limit."""
    import matplotlib

    matplotlib.use("Agg")
    # Equal input gives an equal file.
    matplotlib.rcParams.update({"svg.hashsalt": "chatglm_cpp", "svg.fonttype": "none"})
    matplotlib.rcParams.update({"font.family": "sans-serif", "font.size": 10})
    from matplotlib import pyplot
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle

    kinds = [kind for kind in TITLES if any(row.case.kind == kind for row in comparison.rows)]
    groups = [[row for row in comparison.rows if row.case.kind == kind] for kind in kinds]
    heights = [len(group) for group in groups]
    figure, panels = pyplot.subplots(
        len(groups),
        1,
        figsize=(7.2, 0.62 * sum(heights) + 0.7 * len(groups) + 0.5),
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
    )
    several_threads = len({row.case.threads for row in comparison.rows}) > 1
    several_caches = len({row.case.kv_dtype for row in comparison.rows}) > 1
    for kind, group, panel in zip(kinds, groups, panels[:, 0], strict=True):
        labels = []
        widest = max((median(rates) or 0.0) for row in group for rates in (row.ours, row.peer))
        for at, row in enumerate(group):
            ours, peer = median(row.ours) or 0.0, median(row.peer) or 0.0
            panel.barh(at - 0.2, ours, 0.36, color=OURS_COLOR)
            panel.barh(at + 0.2, peer, 0.36, color=PEER_COLOR)
            ratio = f" ({row.ratio:.1f}x)" if row.ratio else ""
            for y, value, note in ((at - 0.2, ours, ratio), (at + 0.2, peer, "")):
                text = f" {value:.3g}{note} " if value else " n/a "
                inside = (
                    value > 0.2 * widest
                )  # beside a short bar: not across the tick of the limit
                panel.text(
                    value,
                    y,
                    text,
                    va="center",
                    ha="right" if inside else "left",
                    color="white" if inside else TEXT_COLOR,
                    fontsize=9,
                )
            if row.limit:
                panel.plot([row.limit] * 2, [at - 0.42, at + 0.42], color=TEXT_COLOR, linewidth=2)
            label = row.case.name
            label += f", {row.case.threads} threads" if several_threads else ""
            labels.append(label + (f", {row.case.kv_dtype} KV" if several_caches else ""))
        panel.set_yticks(range(len(group)), labels)
        panel.invert_yaxis()
        panel.margins(x=0.03)
        panel.set_xlim(left=0)
        panel.set_title(f"{TITLES[kind]}, tokens/s", loc="left", color=TEXT_COLOR, fontsize=10)
        panel.tick_params(colors=TEXT_COLOR, length=0)
        for name, line in panel.spines.items():
            line.set_visible(name == "left")
            line.set_color(TEXT_COLOR)
        panel.set_xticks([])
    handles = [
        Rectangle((0, 0), 1, 1, color=OURS_COLOR),
        Rectangle((0, 0), 1, 1, color=PEER_COLOR),
        Line2D([0], [0], color=TEXT_COLOR, linewidth=2),
    ]
    names = [f"{comparison.ours_name} ({comparison.isa})", comparison.peer_name]
    figure.legend(
        handles,
        [*names, "limit of the machine, measured"],
        loc="outside lower left",
        ncols=3,
        frameon=False,
        labelcolor=TEXT_COLOR,
        fontsize=8.5,
    )
    figure.savefig(
        path, transparent=True, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None
    )
    pyplot.close(figure)
