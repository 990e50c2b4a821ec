"""Exact schedules of one task graph with CP-SAT of OR-Tools, imported when called."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

import numpy as np

from jaxsched.core.cpsat import Solver
from jaxsched.core.result import Result
from jaxsched.envs.soc.io import load_static
from jaxsched.envs.soc.platforms import Data, StaticGraph
from jaxsched.envs.soc.static import StaticSchedule, list_schedule
from jaxsched.envs.soc.task_graph import TaskGraph, static_task_graph

WHO = "an exact schedule"  # needs OR-Tools, says the message
GRACE = 0.5  # seconds past the limit that a greedy start may look for gaps


def solve_static(
    dag: Data | StaticGraph,
    *,
    time_limit: float = 60.0,
    num_workers: int | None = None,
    seed: int = 0,
) -> Result:
    """The shortest schedule of one static graph that CP-SAT finds, with its bound.

    `dag`: name, path, dict or `StaticGraph`. Never worse than HEFT and PEFT, as far as the time is
    enough for them: `time_limit`, in seconds, covers the whole call. `num_workers`: threads, by
    default all cores. Raises `InstanceError`, `ValueError` for a negative limit, `ImportError`
    without OR-Tools.
    """
    began = time.perf_counter()
    solver = Solver(WHO, time_limit, num_workers, seed)
    graph = static_task_graph(dag if isinstance(dag, StaticGraph) else load_static(dag))
    deadline = began + time_limit
    schedule, bound = solve_graph(graph, solver, deadline, patience=deadline + GRACE)
    makespan = schedule.makespan
    seconds = time.perf_counter() - began
    return Result(schedule, makespan, bound, bound == makespan, "cp_sat", seconds)


def solve_graph(
    graph: TaskGraph, solver: Solver, deadline: float, patience: float, least: int = 0
) -> tuple[StaticSchedule, int]:
    """The best schedule found, whose tasks hold their PE for `least` at least, and a bound.

    `deadline` and `patience`, that of list schedules, are times of `time.perf_counter`.
    """
    shortest = graph.critical_path(least)
    best = list_schedule(graph, "heft", least, patience)
    try:
        other = list_schedule(graph, "peft", least, patience)
        best = min(best, other, key=lambda found: found.makespan)
        return _solve_model(graph, solver, best, shortest, deadline, least)
    except TimeoutError:
        return best, min(shortest, best.makespan)


def _solve_model(
    graph: TaskGraph,
    solver: Solver,
    hint: StaticSchedule,
    shortest: int,
    deadline: float,
    least: int,
) -> tuple[StaticSchedule, int]:
    """`solve_graph` from a hint; raises `TimeoutError` where the time ends before the model is."""
    model = Model(solver.cp_model, graph.num_pes, hint.makespan + least, deadline)
    makespan = model.cp.new_int_var(min(shortest, hint.makespan), hint.makespan, "makespan")
    tasks = model.add_graph(graph, least, hint=hint)
    for end in tasks.ends:
        model.cp.add(makespan >= end)
    model.no_overlap()
    model.cp.minimize(makespan)
    solver.limit(deadline - time.perf_counter())
    bound = solver.solve(model.cp, shortest, hint.makespan)
    if not solver.found:
        return hint, bound
    pe, start = tasks.values(solver)
    finish = start + np.array([graph.time(k, p) for k, p in enumerate(pe)], np.int32)
    found = StaticSchedule(pe, start, finish, int(finish.max(initial=0)))
    best = found if found.makespan < hint.makespan else hint
    return best, best.makespan if solver.optimal else bound


@dataclasses.dataclass
class ModelTasks:
    """The variables of one graph."""

    start: list[Any]
    present: list[dict[int, Any]]  # [task][pe]
    ends: list[Any]
    retires: list[Any]

    def values(self, solver: Solver) -> tuple[np.ndarray, np.ndarray]:
        """PE and start of each task in the solution found, i32[task] both."""
        pe = [next(p for p, here in row.items() if solver.value(here)) for row in self.present]
        start = [solver.value(each) for each in self.start]
        return np.array(pe, np.int32), np.array(start, np.int32)


class Model:
    """A CP-SAT model of graphs on shared PEs; building past `deadline` raises `TimeoutError`."""

    def __init__(self, cp_model: Any, num_pes: int, horizon: int, deadline: float = math.inf):
        self.cp, self.horizon, self.deadline = cp_model.CpModel(), horizon, deadline
        self.intervals: list[list[Any]] = [[] for _ in range(num_pes)]

    def time(self, name: str) -> Any:
        """A new variable, from 0 to the horizon."""
        return self.cp.new_int_var(0, self.horizon, name)

    def check_clock(self) -> None:
        """Raise `TimeoutError` past the deadline."""
        if time.perf_counter() >= self.deadline:
            raise TimeoutError("the model is not complete")

    def add_graph(
        self, graph: TaskGraph, least: int, release: Any = 0, hint: StaticSchedule | None = None
    ) -> ModelTasks:
        """Tasks that hold their PE and keep their successors waiting for `least` at least."""
        cp, tasks = self.cp, ModelTasks([], [], [], [])
        for k in range(graph.num_tasks):
            self.check_clock()
            start, present, length, held = self.time(f"start_{k}"), {}, 0, 0
            for p in graph.able(k):
                is_here = cp.new_bool_var(f"on_{k}_{p}")
                present[p] = is_here
                size = max(graph.time(k, p), least)
                interval = cp.new_optional_fixed_size_interval_var(start, size, is_here, f"interval_{k}_{p}")
                self.intervals[p].append(interval)
                length, held = length + graph.time(k, p) * is_here, held + size * is_here
                if hint is not None:
                    cp.add_hint(is_here, int(hint.pe[k]) == p)
            cp.add_exactly_one(present.values())
            cp.add(start >= release)
            if hint is not None:
                cp.add_hint(start, int(hint.start[k]))
            tasks.start.append(start)
            tasks.present.append(present)
            tasks.ends.append(start + length)
            tasks.retires.append(start + held)
        for k in range(graph.num_tasks):
            there = tasks.start[k]
            if graph.read[k].any():
                there = self.time(f"there_{k}")  # when all its data are in the memory
                for p, is_here in tasks.present[k].items():
                    cp.add(tasks.start[k] >= there + int(graph.read[k][p])).only_enforce_if(is_here)
            for j in graph.before[k]:
                cp.add(tasks.start[k] >= tasks.retires[j])
                self._add_transfer(graph.transfer[j, k], tasks, j, k, there)
        return tasks

    def _add_transfer(
        self,
        transfer: np.ndarray,
        tasks: ModelTasks,
        j: int,
        k: int,
        there: Any,
    ) -> None:
        """`there` is after the transfer from `j`.

        It depends on the PE of `j` and, where `transfer` has several columns, on that of `k`.
        """
        for p, is_from in tasks.present[j].items():
            self.check_clock()
            row = {q: int(transfer[p, q if transfer.shape[1] > 1 else 0]) for q in tasks.present[k]}
            least = min(row.values())
            self.cp.add(there >= tasks.ends[j] + least).only_enforce_if(is_from)
            for q, us in row.items():
                if us > least:
                    self.cp.add(there >= tasks.ends[j] + us).only_enforce_if(is_from, tasks.present[k][q])

    def no_overlap(self) -> None:
        """A PE does one task at a time."""
        for row in self.intervals:
            self.cp.add_no_overlap(row)
