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
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, 1 + bool(names), squeeze=False)[0]
    updates = [row["update"] for row in rows]
    for number, (name, label) in enumerate(TRAINING.items()):
        if rows and name in rows[0]:
            values = [row[name] for row in rows]
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
