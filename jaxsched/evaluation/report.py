"""Reports as JSON and as tables, with what a figure depends on: versions, device, seed, instance
hash.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

import jaxsched
from jaxsched.evaluation.results import Report, mean_gap
from jaxsched.policies.io import describe

PACKAGES = ("jax", "jaxlib", "flax", "numpy", "ortools")


def header() -> dict[str, Any]:
    """Versions, device, number of CPUs and date of this run."""
    return {
        "versions": versions(),
        "device": jax.devices()[0].device_kind,
        "num_devices": jax.device_count(),
        "num_cpus": os.cpu_count(),
        "platform": platform.platform(terse=True),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str]:
    """Versions of this package, of Python, and of what is installed of `PACKAGES`."""
    found = {"jaxsched": jaxsched.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def to_dict(reports: Iterable[Report]) -> dict[str, Any]:
    """Plain data: the header, one entry per report, one row per instance and report."""
    reports = list(reports)
    return {
        "header": header(),
        "methods": [
            {
                "policy": report.label,
                "environment": describe(report.environment),
                "num_instances": len(report.rows),
                "mean_objective": report.mean_objective,
                "mean_gap": report.mean_gap,
                "by_size": report.by_size(),
                "seconds": round(report.seconds, 3),
                "compile_seconds": round(report.compile_seconds, 3),
            }
            for report in reports
        ],
        "rows": [row.to_dict() for report in reports for row in report.rows],
    }


def write_json(path: str | Path, reports: Iterable[Report], *, overwrite: bool = False) -> None:
    """Write `to_dict(reports)`, one row a line; `FileExistsError` where the file exists and
    `overwrite` is False.
    """
    data = to_dict(reports)
    lists = {
        name: "[\n" + ",\n".join("  " + json.dumps(entry) for entry in data[name]) + "\n ]"
        for name in ("methods", "rows")
    }
    header = json.dumps(data["header"])
    text = (
        f'{{\n "header": {header},\n "methods": {lists["methods"]},\n "rows": {lists["rows"]}\n}}\n'
    )
    write_text(path, text, overwrite=overwrite)


def write_text(path: str | Path, text: str, *, overwrite: bool = False) -> None:
    """Write a file and its folder; `FileExistsError` where it exists and `overwrite` is False."""
    refuse_existing(path, overwrite)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w" if overwrite else "x", encoding="utf-8", newline="\n") as file:
        file.write(text)


def refuse_existing(path: str | Path | None, overwrite: bool) -> None:
    """Raise `FileExistsError` where a file is in the way: called before the work as well as
    after.
    """
    if path is not None and not overwrite and Path(path).exists():
        raise FileExistsError(
            f"{path} exists; choose another name, or pass overwrite=True (--force)"
        )


def gap_table(
    reports: Sequence[Report], groups: Mapping[str, Sequence[str]]
) -> tuple[list[str], list[list[str]]]:
    """Column titles and rows: methods against groups of instances, the mean gap in per cent, and
    seconds.

    Where others than the method found solutions, such as the start of an exact solver, its name
    says so. Of a group without known bounds, such as generated instances, the mean objective,
    which its title says.
    """
    columns = {}
    for group, names in groups.items():
        gaps = [mean_gap([report[name] for name in names]) for report in reports]
        if all(gap is None for gap in gaps):
            gaps = [
                statistics.fmean(report[name].objective for name in names) for report in reports
            ]
            group = f"{group} (mean objective)"
        columns[group] = gaps
    titles = ["method", *columns, "seconds", "compiling"]
    body = [
        [
            report.title,
            *(number(column[i]) for column in columns.values()),
            number(report.seconds),
            number(report.compile_seconds),
        ]
        for i, report in enumerate(reports)
    ]
    return titles, body


def instance_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Column titles and rows: one row per instance, then the means of each size and of all.

    Where an episode was cut off, a last column says which: what was reached until then is no
    objective of a solution. Where others than the method found solutions, such as the start of an
    exact solver, one says who.
    """
    titles = ["instance", "size", "objective", "lower", "upper", "gap %", "seconds"]
    named = any(row.method not in ("", row.policy) for row in report.rows)
    body: list[list[Any]] = [
        [
            row.instance,
            row.size,
            row.objective,
            row.lower_bound,
            row.upper_bound,
            row.gap,
            row.seconds,
        ]
        for row in report.rows
    ]
    means: list[list[Any]] = []
    for size, gap in report.by_size().items():
        of_size = [row.objective for row in report.rows if row.size == size]
        means.append(["mean", size, sum(of_size) / len(of_size), "", "", gap, ""])
    if len(means) > 1:
        means.append(["mean", "all", report.mean_objective, "", "", report.mean_gap, ""])
    if any(row.truncated for row in report.rows):
        titles.append("end")
        for cells, row in zip(body, report.rows, strict=True):
            cells.append("truncated" if row.truncated else "")
        for cells in means:
            cells.append("")
    if named:
        titles.append("found by")
        for cells, row in zip(body, report.rows, strict=True):
            cells.append(row.method)
        for cells in means:
            cells.append("")
    return titles, [[number(cell) for cell in row] for row in body + means]


def number(value: Any) -> str:
    """A table cell: floats with one decimal (two significant digits below 1), a dash for None."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.1f}" if abs(value) >= 1 or value == 0 else f"{value:.2g}"
    return str(value)


def print_table(title: str, titles: Sequence[str], body: Sequence[Sequence[str]]) -> None:
    """Print with rich on a terminal that has it, as aligned plain text otherwise."""
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        print(plain_table(title, titles, body), flush=True)
        return
    console = Console()
    if not console.is_terminal:
        print(plain_table(title, titles, body), flush=True)
        return
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(titles):
        table.add_column(column, justify="right" if index else "left")
    for row in body:
        table.add_row(*row)
    console.print(table)


def plain_table(title: str, titles: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """The table as text: first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(titles, *body, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(pairs)
        )
        for pairs in (list(zip(row, widths, strict=True)) for row in [titles, *body])
    ]
    return "\n".join([title, lines[0], "-" * len(lines[0]), *lines[1:]])
