"""`map`: plans of a memory problem by several methods side by side, a thin name for what the
family's functions do.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from jaxsched.cli.outputs import check_writable, save_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxsched.evaluation import Row
    from jaxsched.host.picture import Picture


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
    """Plan the memory of a file: addresses of buffers, accesses of a program, residency of a
    graph's tensors.

    Prints a table of methods with bounds; writes the best plan, which an independent judge has
    checked. Status 1 where no plan fits.

    Args:
        file: Buffers as CSV in MiniMalloc's format; a program or a graph as JSON, what their
            `to_dict` gives; a compiled JAX program, what `compiled.as_text()` gives or XLA dumps.
            Its content says which.
        capacity: Memory there is, in the units of the file, or such as 512KiB or 1MiB; for a graph
            also M_R, M_P or M_H. Default: without a limit for buffers, the program's own, M_H for a
            graph.
        method: One of `jaxsched.envs.memory.ALLOCATION_METHODS`, `MAP_METHODS` or
            `REPLACEMENT_METHODS`, some of them separated by commas, or all: the heuristics and the
            search.
        alignment: Of buffers: round sizes and offsets up to multiples of it.
        schedule: Of a graph: choose the order of the operators, or keep it.
        placement: Of a graph: with addresses, or bytes only.
        time_limit: Seconds for each search or exact solver.
        seed: Seed of the search and of an example.
        out: Write the best plan to this .csv file; of buffers, these with their offsets.
        table: Write the table of methods to this .csv file.
        picture: Draw the best plan into this .svg, .png or .pdf file, or with the table into an
            .html page.
        example: Write an example into the file and stop.
        part: Of a compiled JAX program: its accesses to a fast memory (program, the default), the
            addresses of its temporaries (buffers), or order and residency of its tensors (graph).
        force: Overwrite files that exist.
    """
    from jaxsched.envs import memory
    from jaxsched.evaluation.report import print_table
    from jaxsched.host.table import csv_cell
    from jaxsched.host.text import write_text

    if example is not None:
        check_writable(file, force)
        _write_example(example, file, seed, force)
        print(f"{example} {file}")
        return 0
    _check_outputs(out, table, picture, force)
    problem = memory.read_problem(file, part)
    kind = KINDS[type(problem).__name__](problem, capacity, alignment, schedule, placement)
    names = kind.methods if method == "all" else method.split(",")
    if "policy" in names:
        raise ValueError("a policy is played by the functions of `jaxsched.envs.memory` only")
    tried = [_Tried(name, *kind.plan(name, time_limit=time_limit, seed=seed)) for name in names]

    def rank(found: _Tried) -> tuple[bool, int]:
        return bool(found.reason), kind.objective_and_bound(found.plan)[0]

    best = min(tried, key=rank)
    faults = memory.verify(kind.judged, best.plan)
    if faults:
        raise RuntimeError(f"a plan of {best.name} is not valid: {faults[0]}")
    titles = ["method", *kind.columns, "seconds"]
    body = []
    for name, plan, reason in tried:
        body.append([name, *kind.row(plan, reason), f"{plan.seconds:.2f}"])
    for note in getattr(problem, "notes", ()):
        print(note)
    title = f"{file.name}: {kind.about}"
    print_table(title, titles, body)
    if best.reason:
        print(best.reason)

    writes, said = {}, []
    if table is not None:
        lines = [",".join(map(csv_cell, row)) + "\n" for row in (titles, *body)]
        writes[table] = lambda: write_text(table, lines, force)
        said.append(f"table   {table}")
    if out is not None:
        written = problem if alignment > 1 else kind.judged  # buffers keep their own sizes
        writes[out] = lambda: memory.write_plan(written, best.plan, out, force)
        said.append(f"plan    {out}")
    if picture is not None:
        drawn = memory.draw_plan(kind.judged, best.plan, f"{file.stem}, {best.name}")
        writes[picture] = lambda: _with_table(drawn, titles, body, best.reason).save(picture, force)
        said.append(f"picture {picture}")
    save_all(_row(file.name, kind, best, seed), writes)
    print("\n".join(said), end="\n" * bool(said))
    return 1 if best.reason else 0


def _check_outputs(out: Path | None, table: Path | None, picture: Path | None, force: bool) -> None:
    """Raise where one of the files cannot be written, before the work."""
    from jaxsched.host.picture import check_path

    for path in (out, table):
        if path is not None and path.suffix.lower() != ".csv":
            raise ValueError(f"{path}: a plan or table is written as .csv")
    files = [path for path in (out, table, picture) if path is not None]
    for path in files:
        if files.count(path) > 1:
            raise ValueError(f"{path}: two of --out, --table and --picture name the same file")
        check_writable(path, force)
    if picture is not None:
        check_path(picture, force)


def _row(instance: str, kind: Any, best: _Tried, seed: int) -> Row:
    """The best plan as a row of results."""
    from jaxsched.evaluation import Row

    objective, bound = kind.objective_and_bound(best.plan)
    return Row(
        instance=instance,
        instance_hash="",
        size=kind.about,
        policy=best.name,
        objective=objective,
        lower_bound=bound,
        upper_bound=None,
        samples=1,
        seed=seed,
        seconds=best.plan.seconds,
        solution=best.plan,
        method=best.plan.method,
    )


class _Tried(NamedTuple):
    name: str
    plan: Any
    reason: str  # why it is not a plan within the limits; empty where it is


class _Buffers:
    """Buffers, `allocate`."""

    def __init__(
        self,
        buffers: Any,
        capacity: str | None,
        alignment: int,
        schedule: str,
        placement: str,
    ):
        from jaxsched.envs import memory

        self.buffers, self.alignment = buffers, alignment
        self.judged = buffers.aligned(alignment)
        self.capacity = None if capacity is None else memory.read_amount(capacity)
        self.methods = [*memory.HEURISTICS, "search"]
        self.columns = [
            "peak",
            "lower bound",
            "gap %",
            "note",
            *(["fits"] if self.capacity is not None else []),
        ]
        self.about = f"{len(buffers)} buffers"
        if self.capacity is not None:
            self.about += f", capacity {self.capacity}"

    def plan(self, method: str, **limits: Any) -> tuple[Any, str]:
        from jaxsched.envs import memory
        from jaxsched.host.errors import Infeasible

        try:
            plan = memory.allocate(self.buffers, self.capacity, method, self.alignment, **limits)
            return plan, ""
        except Infeasible as error:
            return error.plan, f"{method}: {error}"

    def objective_and_bound(self, plan: Any) -> tuple[int, int]:
        return plan.peak, plan.lower_bound

    def row(self, plan: Any, reason: str) -> list[str]:
        cells = [str(plan.peak), str(plan.lower_bound), f"{plan.gap:.2f}", _note(plan)]
        if self.capacity is not None:
            cells.append(f"no, {plan.peak - self.capacity} more" if reason else "yes")
        return cells


class _Program:
    """Programs, `map_program`."""

    columns = ("latency", "bound", "baseline", "saved %", "note")

    def __init__(
        self,
        program: Any,
        capacity: str | None,
        alignment: int,
        schedule: str,
        placement: str,
    ):
        from jaxsched.envs import memory

        _refuse_alignment(alignment)
        own = program.capacity if capacity is None else memory.read_amount(capacity)
        self.judged = dataclasses.replace(program, capacity=own)
        self.methods = [name for name in memory.MAP_METHODS if name.endswith("+drop_backup")]
        self.methods = [*(name for name in self.methods if not name.startswith("policy")), "search"]
        counts = f"{len(program.compute)} instructions, {len(program.accesses)} accesses"
        self.about = f"{counts}, capacity {own}"

    def plan(self, method: str, **limits: Any) -> tuple[Any, str]:
        from jaxsched.envs import memory

        plan = memory.map_program(self.judged, method, **limits)
        if plan.feasible:
            return plan, ""
        return plan, f"{method}: dead end, after {len(plan.actions)} accesses none is legal"

    def objective_and_bound(self, plan: Any) -> tuple[int, int]:
        return plan.latency, plan.bound

    def row(self, plan: Any, reason: str) -> list[str]:
        saved = 100 * (1 - plan.latency / plan.baseline) if plan.baseline else 0.0
        note = "dead end" if reason else _note(plan)
        return [str(plan.latency), str(plan.bound), str(plan.baseline), f"{saved:.2f}", note]


class _Graph:
    """Graphs, `replace`."""

    columns = ("bytes moved", "bound", "first loads", "note")

    def __init__(
        self,
        graph: Any,
        capacity: str | None,
        alignment: int,
        schedule: str,
        placement: str,
    ):
        from jaxsched.envs import memory

        _refuse_alignment(alignment)
        self.judged, self.schedule, self.placement = graph, schedule, placement
        named = memory.capacities(graph)._asdict()
        del named["proved"]
        capacity = "M_H" if capacity is None else capacity
        self.capacity = named[capacity] if capacity in named else memory.read_amount(capacity)
        self.methods = ["belady", "belady_min_peak", "greedy", "search"]
        if schedule == "fixed":
            self.methods.remove("belady_min_peak")
        counts = f"{len(graph.op_ids)} operators, {len(graph.size)} tensors"
        self.about = f"{counts}, {schedule} order, {placement}, capacity {self.capacity}"

    def plan(self, method: str, **limits: Any) -> tuple[Any, str]:
        from jaxsched.envs import memory
        from jaxsched.host.errors import Infeasible

        try:
            modes = self.capacity, self.schedule, self.placement
            return memory.replace(self.judged, *modes, method, **limits), ""
        except Infeasible as error:
            return error.plan, f"{method}: {error}"

    def objective_and_bound(self, plan: Any) -> tuple[int, int]:
        return plan.traffic, plan.bound

    def row(self, plan: Any, reason: str) -> list[str]:
        note = f"with {plan.capacity}" if reason else _note(plan)
        return [str(plan.traffic), str(plan.bound), str(plan.compulsory), note]


KINDS = {"Buffers": _Buffers, "Program": _Program, "Graph": _Graph}


def _note(plan: Any) -> str:
    """What is proved of a plan, or whose it is where the method in this row did not find it."""
    return "optimal" if plan.proved else f"of {plan.method}: {plan.note}" if plan.note else ""


def _refuse_alignment(alignment: int) -> None:
    if alignment != 1:
        others = "a program states its own, and the tensors of a graph have none"
        raise ValueError(f"--alignment is for buffers; {others}")


def _with_table(
    drawn: Picture,
    titles: Sequence[str],
    body: Sequence[Sequence[str]],
    reason: str,
) -> Picture:
    """The picture with the table of methods on its page, and why no plan fits."""
    from jaxsched.host.picture import Row

    notes, rows = [reason] if reason else [], [Row(cells) for cells in body]
    return dataclasses.replace(drawn, notes=notes, columns=titles, rows=rows)


def _write_example(example: str, path: Path, seed: int, force: bool) -> None:
    """A small generated problem: a network's buffers or graph, or a program on a machine."""
    import numpy as np

    from jaxsched.envs import memory

    suffix = ".csv" if example == "buffers" else ".json"
    if path.suffix.lower() != suffix:
        raise ValueError(f"{path}: an example of {example} is written as {suffix}")
    graph = memory.attention(np.random.default_rng(seed), 1)
    if example == "buffers":
        memory.write_csv(memory.live_ranges(graph), path, overwrite=force)
    elif example == "graph":
        memory.write_json(memory.Graph.from_dict(graph), path, overwrite=force)
    else:
        program = memory.graph_program(graph, np.random.default_rng(seed))
        memory.write_json(program, path, overwrite=force)
