"""The picture of a run: what it learns on, and what it was evaluated on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from jaxsched.host.chart import COLOURS, clean, colour_of

TRAINING = {"objective_over_scale": "sampled", "best_over_scale": "best of samples"}


def draw_curve(run_dir: Path) -> None:
    """curve.png from log.jsonl: training objective over its reward scale and every evaluation
    metric; nothing without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    rows = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    evaluated = [row for row in rows if "evaluation" in row]
    names = list(dict.fromkeys(name for row in evaluated for name in row["evaluation"]))
    beside = len(names) > 10  # the names do not fit into the panel
    size = (5.5 * (1 + bool(names)) + 3 * beside, max(3.8, 0.6 + 0.22 * len(names)))
    # A layout engine draws everything once more, and is needed where a legend takes part only.
    figure = Figure(figsize=size, layout="constrained" if beside else None)
    axes = figure.subplots(1, 1 + bool(names), squeeze=False)[0]
    if not beside:
        width, height = size
        edges = {"left": 0.8 / width, "right": 1 - 0.2 / width, "wspace": 0.15}
        figure.subplots_adjust(bottom=0.55 / height, top=1 - 0.35 / height, **edges)
    rounds = _rounds(rows)
    updates = [each[-1]["update"] for each in rounds]
    for number, (name, label) in enumerate(TRAINING.items()):
        if rows and name in rows[0]:
            values = [np.mean([row[name] for row in each], 0) for each in rounds]
            _curve(axes[0], updates, values, label, number, linewidth=1)
            axes[0].legend()
    axes[0].set(xlabel="update", ylabel="objective / reward scale", title="training instances")
    if names:
        lines = _draw_evaluations(axes[1], evaluated, names)
        legend = (
            figure.legend(handles=lines, loc="outside right upper")
            if beside
            else axes[1].legend(handles=lines)
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.savefig(run_dir / "curve.png", dpi=120)


def _rounds(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """One update after the other; where sources take turns, one update of each, or the means would
    jump between their sizes, as they would at the end for a part of a round, which is left out.
    """
    count = 1 + max((row.get("source", 0) for row in rows), default=0)
    return [rows[i : i + count] for i in range(0, len(rows) - count + 1, count)]


def _draw_evaluations(axis: Any, rows: list[dict[str, Any]], names: list[str]) -> list[Any]:
    """One line for each evaluation metric over the minutes of the run."""
    minutes = [row["seconds"] / 60 for row in rows]
    lines = []
    for number, name in enumerate(names):
        values = [row["evaluation"].get(name, np.nan) for row in rows]
        lines.append(_curve(axis, minutes, values, name, number, marker="o", markersize=3))
    axis.set(xlabel="minutes, compilation included", title="evaluation")
    return lines


def _curve(axis: Any, x: list[float], y: list[Any], label: str, number: int, **style: Any) -> Any:
    """One line for each seed, all of one colour and under one name; returns the first."""
    dashes = ("-", "--", ":", "-.")[number // COLOURS % 4]
    first, *_ = axis.plot(x, y, color=colour_of(number)[0], linestyle=dashes, **style)
    first.set_label(clean(label))
    return first
