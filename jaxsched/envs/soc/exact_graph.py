"""Exact schedules of one task graph with CP-SAT of OR-Tools, imported when called."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from jaxsched.core.result import Result
from jaxsched.envs.soc.io import load_static
from jaxsched.envs.soc.platforms import Data, StaticGraph
from jaxsched.envs.soc.static import StaticSchedule, list_schedule
from jaxsched.envs.soc.task_graph import TaskGraph, static_task_graph
from jaxsched.host.cpsat import Solver, producer
from jaxsched.host.deadline import Deadline

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
    enough for them: `time_limit`, in seconds, covers the whole call. The `method` of the result is
    `cp_sat`, or the better of those two that it did not improve. `num_workers`: threads, by
    default all cores. Raises `InstanceError`, `ValueError` for a negative limit, `ImportError`
    without OR-Tools.
    """
    solver = Solver(WHO, time_limit, num_workers, seed)
    graph = static_task_graph(dag if isinstance(dag, StaticGraph) else load_static(dag))
    patience = Deadline(solver.deadline.left() + GRACE)
    schedule, bound, method = solve_graph(graph, solver, solver.deadline, patience)
    makespan = schedule.makespan
    return Result(schedule, makespan, bound, bound == makespan, method, solver.deadline.spent())


class SolvedGraph(NamedTuple):
    """The best schedule found, a bound, and who found the schedule."""

    schedule: StaticSchedule
    bound: int
    method: str


def solve_graph(
    graph: TaskGraph, solver: Solver, deadline: Deadline, patience: Deadline, least: int = 0
) -> SolvedGraph:
    """The best schedule found, whose tasks hold their PE for `least` at least, and a bound.

    List schedules end by `patience`, what comes after them by `deadline`.
    """
    shortest, start = graph.critical_path(least), "heft"
    best = list_schedule(graph, "heft", least, patience)
    try:
        other = list_schedule(graph, "peft", least, patience)
        if other.makespan < best.makespan:
            best, start = other, "peft"
        found, bound = _solve_model(graph, solver, best, shortest, deadline, least)
    except TimeoutError:
        return SolvedGraph(best, min(shortest, best.makespan), start)
    proved = shortest < bound == best.makespan
    return SolvedGraph(found, bound, producer(start, improved=found is not best, proved=proved))


def _solve_model(
    graph: TaskGraph,
    solver: Solver,
    hint: StaticSchedule,
    shortest: int,
    deadline: Deadline,
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
    bound = solver.solve(model.cp, shortest, hint.makespan, deadline=deadline)
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

    def __init__(self, cp_model: Any, num_pes: int, horizon: int, deadline: Deadline):
        self.cp, self.horizon, self.deadline = cp_model.CpModel(), horizon, deadline
        self.intervals: list[list[Any]] = [[] for _ in range(num_pes)]

    def time(self, name: str) -> Any:
        """A new variable, from 0 to the horizon."""
        return self.cp.new_int_var(0, self.horizon, name)

    def add_graph(
        self, graph: TaskGraph, least: int, release: Any = 0, hint: StaticSchedule | None = None
    ) -> ModelTasks:
        """Tasks that hold their PE and keep their successors waiting for `least` at least."""
        cp, tasks = self.cp, ModelTasks([], [], [], [])
        for k in range(graph.num_tasks):
            self.deadline.check()
            start, present, length, held = self.time(f"start_{k}"), {}, 0, 0
            for p in graph.able(k):
                is_here = cp.new_bool_var(f"on_{k}_{p}")
                present[p] = is_here
                size = max(graph.time(k, p), least)
                interval = cp.new_optional_fixed_size_interval_var(
                    start, size, is_here, f"interval_{k}_{p}"
                )
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
            self.deadline.check()
            row = {q: int(transfer[p, q if transfer.shape[1] > 1 else 0]) for q in tasks.present[k]}
            least = min(row.values())
            self.cp.add(there >= tasks.ends[j] + least).only_enforce_if(is_from)
            for q, us in row.items():
                if us > least:
                    self.cp.add(there >= tasks.ends[j] + us).only_enforce_if(
                        is_from, tasks.present[k][q]
                    )

    def no_overlap(self) -> None:
        """A PE does one task at a time."""
        for row in self.intervals:
            self.cp.add_no_overlap(row)
