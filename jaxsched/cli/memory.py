"""`map`: files of the memory family."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxsched.core.picture import Picture


def map_file(
    file: Path,
    /,
    *,
    capacity: str | None = None,
    method: str = "all",
    alignment: int = 1,
    schedule: Literal["free", "fixed"] = "free",
    placement: Literal["bytes", "address"] = "address",
    time_limit: float = 60.0,
    seed: int = 0,
    out: Path | None = None,
    table: Path | None = None,
    picture: Path | None = None,
    example: Literal["buffers", "program", "graph"] | None = None,
    part: Literal["buffers", "program", "graph"] | None = None,
    force: bool = False,
) -> int:
    """Plan the memory of a file: addresses of buffers, accesses of a program, residency of a graph's tensors.

    Prints a table of methods with bounds; writes the best plan, which an independent judge has checked. Status 1 where
    no plan fits.

    Args:
        file: Buffers as .csv in MiniMalloc's format; a program or a graph as .json, what their `to_dict` gives; a
            compiled JAX program as .hlo, what `compiled.as_text()` gives.
        capacity: Memory there is, in the units of the file, or such as 512KiB or 1MiB; for a graph also M_R, M_P or
            M_H. Default: without a limit for buffers, the program's own, M_H for a graph.
        method: One of `jaxsched.envs.memory.ALLOCATION_METHODS`, `MAP_METHODS` or `REPLACEMENT_METHODS`, some of them
            separated by commas, or all: the heuristics and the search.
        alignment: Of buffers: round sizes and offsets up to multiples of it.
        schedule: Of a graph: choose the order of the operators, or keep it.
        placement: Of a graph: with addresses, or bytes only.
        time_limit: Seconds for each search or exact solver.
        seed: Seed of the search and of an example.
        out: Write the best plan to this .csv file; of buffers, these with their offsets.
        table: Write the table of methods to this .csv file.
        picture: Draw the best plan into this .svg or .png file, or with the table into an .html page.
        example: Write an example into the file and stop.
        part: Of a compiled JAX program: its accesses to a fast memory (program, the default), the addresses of its
            temporaries (buffers), or order and residency of its tensors (graph).
        force: Overwrite files that exist.
    """
    from jaxsched.core.text import write_text
    from jaxsched.envs import memory
    from jaxsched.evaluation.report import print_table, refuse_existing

    if example is not None:
        refuse_existing(file, force)
        _write_example(example, file, seed, force)
        print(f"{example} {file}")
        return 0
    for path, suffixes in ((out, (".csv",)), (table, (".csv",)), (picture, (".svg", ".png", ".html"))):
        refuse_existing(path, force)
        if path is not None and path.suffix not in suffixes:
            what = "a picture" if path is picture else "a plan or table"
            raise ValueError(f"{path}: {what} is written as {' or '.join(suffixes)}")
    problem: Any
    if part is not None and file.suffix != ".hlo":
        raise ValueError(f"--part is of a compiled JAX program, an .hlo file; {file} is one problem, leave it out")
    if file.suffix == ".hlo":
        problem = getattr(memory.read_hlo(file), part or "program")
    else:
        problem = memory.read_csv(file) if file.suffix == ".csv" else memory.read_json(file)
    kind = KINDS[type(problem).__name__](problem, capacity, alignment, schedule, placement)
    names = kind.methods if method == "all" else method.split(",")
    if "policy" in names:
        raise ValueError("a policy is played by the functions of `jaxsched.envs.memory` only")
    tried = [_Tried(name, *kind.plan(name, time_limit=time_limit, seed=seed)) for name in names]
    best = min(tried, key=lambda found: (bool(found.reason), kind.value(found.plan)))
    faults = memory.verify(kind.judged, best.plan)
    if faults:
        raise RuntimeError(f"a plan of {best.name} is not valid: {faults[0]}")
    titles = ["method", *kind.columns, "seconds"]
    body = [
        [found.name, *kind.row(found.plan, found.reason), f"{found.plan.seconds:.2f}" if found.plan else ""]
        for found in tried
    ]
    title = f"{file.name}: {kind.about}"
    print_table(title, titles, body)
    if best.reason:
        print(best.reason)
    if table is not None:
        from jaxsched.core.table import csv_cell

        write_text(table, [",".join(map(csv_cell, row)) + "\n" for row in (titles, *body)], force)
        print(f"table   {table}")
    if out is not None:
        kind.write(best.plan, out, force)
        print(f"plan    {out}")
    if picture is not None:
        drawn = None if picture.suffix == ".png" else kind.svg(best.plan, f"{file.stem}, {best.name}")
        if drawn is None:
            kind.figure(best.plan).savefig(picture, dpi=120)
        elif picture.suffix == ".html":
            write_text(picture, [_page(title, titles, body, drawn, best.reason)], force)
        else:
            drawn.save(picture, overwrite=force)
        print(f"picture {picture}")
    return 1 if best.reason else 0


class _Tried(NamedTuple):
    name: str
    plan: Any
    reason: str  # why it is not a plan within the limits; empty where it is


class _Buffers:
    """Buffers, `allocate`, MiniMalloc's CSV."""

    def __init__(self, buffers: Any, capacity: str | None, alignment: int, schedule: str, placement: str):
        from jaxsched.envs import memory

        self.buffers, self.alignment = buffers, alignment
        self.judged = buffers.aligned(alignment)
        self.capacity = None if capacity is None else amount(capacity)
        self.methods = [*memory.HEURISTICS, "search"]
        self.columns = ["peak", "lower bound", "gap %", "note", *(["fits"] if self.capacity is not None else [])]
        self.about = f"{len(buffers)} buffers" + (f", capacity {self.capacity}" if self.capacity is not None else "")

    def plan(self, method: str, **limits: Any) -> tuple[Any, str]:
        from jaxsched.core.errors import Infeasible
        from jaxsched.envs import memory

        try:
            return memory.allocate(self.buffers, self.capacity, method, self.alignment, **limits), ""
        except Infeasible as error:
            return error.plan, f"{method}: {error}"

    def value(self, plan: Any) -> int:
        return plan.peak

    def row(self, plan: Any, reason: str) -> list[str]:
        fits = [] if self.capacity is None else [f"no, {plan.peak - self.capacity} more" if reason else "yes"]
        return [str(plan.peak), str(plan.lower_bound), f"{plan.gap:.2f}", "optimal" if plan.proved else "", *fits]

    def write(self, plan: Any, path: Path, force: bool) -> None:
        from jaxsched.envs import memory

        memory.write_csv(self.buffers, path, plan, overwrite=force)

    def svg(self, plan: Any, title: str) -> Picture:
        from jaxsched.envs import memory

        return memory.memory_map_svg(self.judged, plan, title=title)

    def figure(self, plan: Any) -> Figure:
        from jaxsched.envs import memory

        figure = _figure()
        memory.memory_map(self.judged, plan, ax=figure.subplots())
        return figure


class _Program:
    """Programs, `map_program`."""

    columns = ("latency", "bound", "baseline", "saved %", "note")

    def __init__(self, program: Any, capacity: str | None, alignment: int, schedule: str, placement: str):
        import dataclasses

        from jaxsched.envs.memory.mapping.heuristics import HEURISTICS

        _refuse_alignment(alignment)
        self.judged = program if capacity is None else dataclasses.replace(program, capacity=amount(capacity))
        self.methods = [*(name for name in HEURISTICS if name.endswith("+drop_backup")), "search"]
        counts = f"{len(program.compute)} instructions, {len(program.accesses)} accesses"
        self.about = f"{counts}, capacity {self.judged.capacity}"

    def plan(self, method: str, **limits: Any) -> tuple[Any, str]:
        from jaxsched.envs import memory

        plan = memory.map_program(self.judged, method, **limits)
        return plan, "" if plan.feasible else f"{method}: dead end, after {len(plan.actions)} accesses none is legal"

    def value(self, plan: Any) -> int:
        return plan.latency

    def row(self, plan: Any, reason: str) -> list[str]:
        saved = 100 * (1 - plan.latency / plan.baseline) if plan.baseline else 0.0
        note = "dead end" if reason else "optimal" if plan.proved else ""
        return [str(plan.latency), str(plan.bound), str(plan.baseline), f"{saved:.2f}", note]

    def write(self, plan: Any, path: Path, force: bool) -> None:
        from jaxsched.envs import memory

        memory.write_plan(self.judged, plan, path, overwrite=force)

    def svg(self, plan: Any, title: str) -> Picture:
        from jaxsched.envs import memory

        return memory.mapping_svg(self.judged, plan, title=title)

    def figure(self, plan: Any) -> Figure:
        from jaxsched.envs import memory

        figure = _figure()
        above, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
        memory.mapping_chart(self.judged, plan, (above, below))
        return figure


class _Graph:
    """Graphs, `replace`."""

    columns = ("bytes moved", "bound", "first loads", "note")

    def __init__(self, graph: Any, capacity: str | None, alignment: int, schedule: str, placement: str):
        from jaxsched.envs import memory

        _refuse_alignment(alignment)
        self.judged, self.schedule, self.placement = graph, schedule, placement
        limits = memory.capacities(graph)
        named = {name: getattr(limits, name) for name in ("M_R", "M_P", "M_H")}
        self.capacity = named["M_H"] if capacity is None else named[capacity] if capacity in named else amount(capacity)
        self.methods = [
            name
            for name in ("belady", "belady_min_peak", "greedy", "search")
            if schedule == "free" or name != "belady_min_peak"
        ]
        counts = f"{len(graph.op_ids)} operators, {len(graph.size)} tensors"
        self.about = f"{counts}, {schedule} order, {placement}, capacity {self.capacity}"

    def plan(self, method: str, **limits: Any) -> tuple[Any, str]:
        from jaxsched.core.errors import Infeasible
        from jaxsched.envs import memory

        try:
            return memory.replace(self.judged, self.capacity, self.schedule, self.placement, method, **limits), ""
        except Infeasible as error:
            return error.plan, f"{method}: {error}"

    def value(self, plan: Any) -> int:
        return plan.traffic

    def row(self, plan: Any, reason: str) -> list[str]:
        note = f"with {plan.capacity}" if reason else "optimal" if plan.proved else ""
        return [str(plan.traffic), str(plan.bound), str(plan.compulsory), note]

    def write(self, plan: Any, path: Path, force: bool) -> None:
        from jaxsched.envs import memory

        memory.write_plan(self.judged, plan, path, overwrite=force)

    def svg(self, plan: Any, title: str) -> Picture:
        from jaxsched.envs import memory

        return memory.replacement_svg(self.judged, plan, title=title)

    def figure(self, plan: Any) -> Figure:
        from jaxsched.envs import memory

        figure = _figure()
        above, below = figure.subplots(2, sharex=True, height_ratios=(4, 1))
        memory.replacement_chart(self.judged, plan, (above, below))
        return figure


KINDS = {"Buffers": _Buffers, "Program": _Program, "Graph": _Graph}


def _refuse_alignment(alignment: int) -> None:
    if alignment != 1:
        raise ValueError("--alignment is for buffers; a program states its own, and the tensors of a graph have none")


def _write_example(example: str, path: Path, seed: int, force: bool) -> None:
    """A small generated problem: a network's buffers or graph, or a program on a machine."""
    import numpy as np

    from jaxsched.envs import memory

    suffix = ".csv" if example == "buffers" else ".json"
    if path.suffix != suffix:
        raise ValueError(f"{path}: an example of {example} is written as {suffix}")
    graph = memory.attention(np.random.default_rng(seed), 1)
    if example == "buffers":
        memory.write_csv(memory.live_ranges(graph), path, overwrite=force)
    elif example == "graph":
        memory.write_json(memory.Graph.from_dict(graph), path, overwrite=force)
    else:
        memory.write_json(memory.graph_program(graph, np.random.default_rng(seed)), path, overwrite=force)


def _figure() -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _page(title: str, titles: Sequence[str], body: Sequence[Sequence[str]], picture: Picture, reason: str) -> str:
    """A page of its own: the table of methods, and the picture of the best plan."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    title = re.sub(r"[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", " ", title)
    rows = "\n".join([line(titles, "th"), *(line(row, "td") for row in body)])
    note = f"<p>{html.escape(reason)}</p>\n" if reason else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>
<style>body {{ font: 14px sans-serif; margin: 24px }} td, th {{ padding: 2px 14px 2px 0; text-align: right }}
td:first-child, th:first-child {{ text-align: left }}</style></head><body>
<h1>{html.escape(title)}</h1>
<table>
{rows}
</table>
{note}{picture._repr_html_()}
</body></html>
"""


def amount(text: str) -> int:
    """An amount of memory: `1048576`, `512KiB`, `1MiB`, `2GiB`."""
    number, factor = text.strip(), 1
    for power, unit in enumerate(("KiB", "MiB", "GiB"), 1):
        if number.lower().endswith(unit.lower()):
            number, factor = number[: -len(unit)].strip(), 1024**power
    if not (number.isascii() and number.isdigit() and len(number) <= 18):
        raise ValueError(f"capacity {text!r} is not an amount such as 1048576, 512KiB or 1MiB")
    return int(number) * factor
