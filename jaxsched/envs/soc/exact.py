"""Exact schedules with the constraint solver CP-SAT of OR-Tools (imported when called): one graph, or a short stream.

The stream is clairvoyant: all profiles, requests and times are known in advance. Modelled are the times and transfers
of tasks, PEs that do one task at a time, tasks of length 0 that hold their PE for 1 us, and the entry of jobs exactly
as `ds3`, `socrates` and `open` define it, which under a cap depends on when earlier jobs leave. Relaxed is when a task
may start: at any time, where a scheduler has to decide as soon as a task is ready and cannot keep a PE idle for a task
that is not. So the bound holds for every scheduler that meets these requests, and a schedule that reaches it need not
be reachable by one. Noise is not modelled.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxsched.core.cpsat import Solver
from jaxsched.core.errors import InstanceError, UnknownNameError
from jaxsched.core.result import Result
from jaxsched.envs.soc.checks import INT32_MAX, array, integer, integers
from jaxsched.envs.soc.instances import to_host
from jaxsched.envs.soc.io import load_static
from jaxsched.envs.soc.platforms import Data, Job, Platform, StaticGraph, check
from jaxsched.envs.soc.static import StaticSchedule, TaskGraph, gap, list_schedule, of_job, of_static, topological
from jaxsched.envs.soc.trace import Trace
from jaxsched.envs.soc.types import Instance
from jaxsched.envs.soc.validate import validate

MAX_STREAM = 16  # jobs; with a cap the model has a constraint for every group of cap jobs


def solve_static(
    dag: Data | StaticGraph, *, time_limit: float = 60.0, num_workers: int | None = None, seed: int = 0
) -> Result:
    """The shortest schedule of one static graph (name, path, dict or `StaticGraph`) that CP-SAT finds, with its bound.

    Never worse than HEFT and PEFT. `num_workers`: threads, by default all cores. Raises `InstanceError`, `ValueError`
    for a negative limit, `ImportError` without OR-Tools.
    """
    graph = of_static(dag if isinstance(dag, StaticGraph) else load_static(dag))
    return solve_graph(graph, time_limit=time_limit, num_workers=num_workers, seed=seed)


def solve_graph(graph: TaskGraph, *, time_limit: float = 60.0, num_workers: int | None = None, seed: int = 0) -> Result:
    """`solve_static` of a `TaskGraph`."""
    return _solve_graph(graph, 0, Solver("an exact schedule", time_limit, num_workers, seed))


def _solve_graph(graph: TaskGraph, least: int, solver: Solver) -> Result:
    """The shortest schedule of a graph whose tasks hold their PE for `least` at least."""
    began = time.perf_counter()
    hint = min((list_schedule(graph, method, least) for method in ("heft", "peft")), key=lambda found: found.makespan)
    shortest = _shortest(graph, least)
    model = _Model(solver.cp_model, graph.num_pes, horizon=hint.makespan + least)
    makespan = model.cp.new_int_var(min(shortest, hint.makespan), hint.makespan, "makespan")
    tasks = model.add_graph(graph, least, hint=hint)
    for end in tasks.ends:
        model.cp.add(makespan >= end)
    model.no_overlap()
    model.cp.minimize(makespan)
    bound = solver.solve(model.cp, shortest, hint.makespan)
    schedule = hint
    if solver.found:
        pe, start = _values(solver, tasks)
        finish = start + np.array([graph.exec_time[k][p] for k, p in enumerate(pe)], np.int32)
        if finish.max(initial=0) < hint.makespan:
            schedule = StaticSchedule(pe, start, finish, int(finish.max(initial=0)))
    bound = schedule.makespan if solver.optimal else bound
    return Result(schedule, schedule.makespan, bound, bound == schedule.makespan, "cp_sat", time.perf_counter() - began)


def solve_stream(
    platform: Platform,
    jobs: Sequence[Job],
    arrivals: Sequence[int],
    *,
    communication: str = "pe_to_pe",
    max_jobs_in_system: int | None = None,
    cap_mode: str = "ds3",
    redraw: Sequence[int] | None = None,
    hint: Trace | None = None,
    time_limit: float = 60.0,
    num_workers: int | None = None,
    seed: int = 0,
) -> Result:
    """The least summed latency of a short stream, known in advance, that CP-SAT finds, with the bound it proves.

    The arguments up to `max_jobs_in_system` are those of `simulate`; `cap_mode` and `redraw` those of `validate`. The
    head of this module says what is modelled. The search starts from `hint` (a complete trace of the same stream), or
    from HEFT job by job, and is confined to schedules that are no worse. At most 16 jobs; six to eight of ten tasks
    take seconds to minutes.

    Returns a `Result` whose `schedule` is a `Trace` and whose `objective` is the summed latency in us. Raises
    `InstanceError`, `UnknownNameError`, `ValueError` for an invalid hint or a negative limit, `ImportError` without
    OR-Tools.
    """
    began = time.perf_counter()
    stream = _Stream(platform, jobs, arrivals, communication, max_jobs_in_system, cap_mode, redraw)
    solver = Solver("an exact schedule", time_limit, num_workers, seed)
    if hint is None:
        hint = stream.greedy()
    elif faults := [*stream.faults(hint), *(f"job {i} is unfinished" for i in hint.unfinished)]:
        raise ValueError(f"the hint is not a complete trace of this stream: {faults[0]}")
    ceiling = sum(job.latency or 0 for job in hint.jobs)
    # No job is faster than alone; this bound is much of what can be proved of the sum.
    alone: dict[Job, int] = {}
    for job, graph in zip(jobs, stream.graphs, strict=True):
        if job not in alone:
            share = time_limit / (4 * len(set(jobs)))
            alone[job] = _solve_graph(graph, 1, Solver("an exact schedule", share, num_workers, seed)).bound
    shortest = [alone[job] for job in jobs]

    model = _Model(solver.cp_model, platform.num_pes, stream.horizon)
    cp = model.cp
    latencies, all_tasks, leaves, enters, late = [], [], [], [], []
    for i, graph in enumerate(stream.graphs):
        base, due, bar = enters[-1] if enters else 0, model.time(f"due_{i}"), None
        cp.add(due == base + stream.gap[i])
        if stream.cap is not None and i >= stream.cap:
            # The job finds no room at t while `cap` of those before it leave at t or later.
            groups = []
            for group in itertools.combinations(range(i), stream.cap):
                groups.append(model.time(f"group_{i}_{group}"))
                cp.add_min_equality(groups[-1], [leaves[j] for j in group])
            bar = model.time(f"room_{i}")
            cp.add_max_equality(bar, groups)
        enter, is_late = stream.entry(model, i, due, bar, late[-1] if late else 0)
        enters.append(enter)
        late.append(is_late)
        job_hint = _rows(hint, i, graph.num_tasks)
        tasks = model.add_graph(graph, least=1, release=enter, hint=job_hint)
        finish, leave = model.time(f"finish_{i}"), model.time(f"leave_{i}")
        cp.add_max_equality(finish, tasks.ends)
        cp.add_max_equality(leave, tasks.retires)
        latency = cp.new_int_var(shortest[i], max(ceiling, shortest[i]), f"latency_{i}")
        cp.add(latency == finish - enter)
        cp.add_hint(enter, hint.jobs[i].arrival)
        cp.add_hint(latency, hint.jobs[i].latency or 0)
        latencies.append(latency)
        all_tasks.append(tasks)
        leaves.append(leave)
    model.no_overlap()
    cp.add(sum(latencies) <= ceiling)
    cp.minimize(sum(latencies))
    solver.limit(time_limit - (time.perf_counter() - began))
    bound = solver.solve(cp, sum(shortest), ceiling)
    trace = hint
    if solver.found:
        found = stream.trace([_values(solver, tasks) for tasks in all_tasks], [solver.value(enter) for enter in enters])
        if sum(job.latency or 0 for job in found.jobs) < ceiling:
            trace = found
    objective = sum(job.latency or 0 for job in trace.jobs)
    bound = objective if solver.optimal else bound
    return Result(trace, objective, bound, bound == objective, "cp_sat", time.perf_counter() - began)


def solve_exact(
    instance: Instance,
    *,
    communication: str = "pe_to_pe",
    cap_mode: str = "ds3",
    reward: str = "latency",
    hint: Trace | None = None,
    time_limit: float = 60.0,
    num_workers: int | None = None,
    seed: int = 0,
) -> Result:
    """`solve_stream` of an instance of `SoC-v0`, under the settings of the environment.

    Raises also `InstanceError` for what is not modelled: noise, a horizon, a warm-up, another objective.
    """
    for there, what in (
        (instance.noise is not None, "noise"),
        (int(instance.horizon) < INT32_MAX, "a horizon"),
        (int(instance.warm_up) > 0, "a warm-up"),
        (reward not in ("latency", "socrates"), f"the objective {reward}"),
    ):
        if there:
            raise InstanceError(f"the exact model of a stream does not know {what}")
    platform, profiles = to_host(instance.system)
    real = np.asarray(instance.job_mask)
    return solve_stream(
        platform,
        [profiles[p] for p in np.asarray(instance.profile)[real]],
        np.cumsum(np.asarray(instance.gap)[real]).tolist(),
        communication=communication,
        max_jobs_in_system=int(np.asarray(instance.slot_mask).sum()),
        cap_mode=cap_mode,
        redraw=np.asarray(instance.redraw)[real].tolist() if cap_mode == "socrates" else None,
        hint=hint,
        time_limit=time_limit,
        num_workers=num_workers,
        seed=seed,
    )


@dataclasses.dataclass
class _Tasks:
    """The variables of one graph."""

    start: list[Any]
    present: list[dict[int, Any]]  # [task][pe]
    ends: list[Any]
    retires: list[Any]


class _Model:
    """A CP-SAT model of graphs on shared PEs."""

    def __init__(self, cp_model: Any, num_pes: int, horizon: int):
        self.cp, self.horizon = cp_model.CpModel(), horizon
        self.intervals: list[list[Any]] = [[] for _ in range(num_pes)]

    def time(self, name: str) -> Any:
        return self.cp.new_int_var(0, self.horizon, name)

    def add_graph(self, graph: TaskGraph, least: int, release: Any = 0, hint: StaticSchedule | None = None) -> _Tasks:
        """Tasks that hold their PE and keep their successors waiting for `least` at least."""
        cp, tasks = self.cp, _Tasks([], [], [], [])
        for k in range(graph.num_tasks):
            start, present, length, held = self.time(f"start_{k}"), {}, 0, 0
            for p in graph.able(k):
                time_ = graph.exec_time[k][p] or 0
                is_here = cp.new_bool_var(f"on_{k}_{p}")
                present[p] = is_here
                size = max(time_, least)
                interval = cp.new_optional_fixed_size_interval_var(start, size, is_here, f"interval_{k}_{p}")
                self.intervals[p].append(interval)
                length, held = length + time_ * is_here, held + size * is_here
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
                self._transfer(graph.transfer[j, k], tasks, j, k, there)
        return tasks

    def _transfer(self, transfer: np.ndarray, tasks: _Tasks, j: int, k: int, there: Any) -> None:
        """`there` is after the transfer from `j`, which depends on its PE and, given columns, on that of `k`."""
        for p, is_from in tasks.present[j].items():
            row = {q: int(transfer[p, q if transfer.shape[1] > 1 else 0]) for q in tasks.present[k]}
            least = min(row.values())
            self.cp.add(there >= tasks.ends[j] + least).only_enforce_if(is_from)
            for q, us in row.items():
                if us > least:
                    self.cp.add(there >= tasks.ends[j] + us).only_enforce_if(is_from, tasks.present[k][q])

    def no_overlap(self) -> None:
        for row in self.intervals:
            self.cp.add_no_overlap(row)


def _values(solver: Solver, tasks: _Tasks) -> tuple[np.ndarray, np.ndarray]:
    """PE and start of each task."""
    pe = [next(p for p, here in row.items() if solver.value(here)) for row in tasks.present]
    return np.array(pe, np.int32), np.array([solver.value(start) for start in tasks.start], np.int32)


class _Stream:
    """The checked arguments of `solve_stream`, and what follows from them without a solver."""

    def __init__(
        self,
        platform: Platform,
        jobs: Sequence[Job],
        arrivals: Sequence[int],
        communication: str,
        cap: int | None,
        cap_mode: str,
        redraw: Sequence[int] | None,
    ):
        if cap_mode not in ("ds3", "socrates", "open"):
            raise UnknownNameError("cap_mode", cap_mode, ("ds3", "socrates", "open"))
        if not 0 < len(array(jobs, "jobs")) <= MAX_STREAM:
            raise InstanceError(f"{len(jobs)} jobs, expected 1 to {MAX_STREAM}")
        check(platform, jobs)
        times = integers(arrivals, "arrivals")
        if len(times) != len(jobs):
            raise InstanceError(f"{len(times)} arrivals for {len(jobs)} jobs")
        for i, (one, other) in enumerate(itertools.pairwise(times)):
            if other < one:
                raise InstanceError(f"arrivals[{i + 1}]: {other} is before arrivals[{i}], {one}")
        self.gap = [time - before for before, time in zip([0, *times], times, strict=False)]
        self.cap = None if cap is None or cap_mode == "open" else integer(cap, 1, "max_jobs_in_system")
        self.redraw = None
        if cap_mode == "socrates":
            self.redraw = None if redraw is None else integers(redraw, "redraw")
            if self.redraw is None or len(self.redraw) != len(jobs):
                raise InstanceError("cap_mode='socrates' needs one `redraw` per job")
        self.platform, self.jobs, self.arrivals = platform, list(jobs), times
        self.settings = {"communication": communication, "cap_mode": cap_mode, "redraw": self.redraw}
        made = {job: of_job(platform, job, communication) for job in dict.fromkeys(jobs)}
        self.graphs = [made[job] for job in jobs]
        # Everything in a row, one job after the other.
        polls = [1 + us for us in self.redraw] if self.redraw is not None else [1] * len(jobs)
        self.horizon = times[-1] + sum(graph.horizon for graph in self.graphs) + (sum(polls) if self.cap else 0)
        if self.horizon > INT32_MAX:
            raise InstanceError(f"the stream in a row may take {self.horizon} us, which exceeds int32")

    def faults(self, trace: Trace) -> list[str]:
        if len(trace.jobs) != len(self.jobs):
            return [f"{len(trace.jobs)} jobs, expected {len(self.jobs)}"]
        cap = {"max_jobs_in_system": self.cap, "arrivals": self.arrivals}
        return validate(self.platform, self.jobs, trace, **cap, **self.settings)  # pyright: ignore[reportArgumentType]

    def entry(self, model: _Model, i: int, due: Any, bar: Any, follows: Any) -> tuple[Any, Any]:
        """When job `i` enters, and whether it does after those that leave in that tick have left (step 3).

        `due`: when it asks to; `bar`: the last tick in which it finds no room before those that leave then have left,
        None where it always finds room; `follows`: whether the job before it entered in step 3.
        """
        cp = model.cp
        with_it = follows if self.gap[i] == 0 else 0  # enters in the same step as the job before it
        if bar is None:
            return due, with_it
        enter, full, waits = model.time(f"enter_{i}"), cp.new_bool_var(f"full_{i}"), cp.new_bool_var(f"waits_{i}")
        cp.add(bar >= due + with_it).only_enforce_if(full)
        cp.add(bar < due + with_it).only_enforce_if(~full)
        cp.add(enter == due).only_enforce_if(~full)
        if self.redraw is not None:
            cp.add(enter == bar + 1 + self.redraw[i]).only_enforce_if(full)
            return enter, 0
        cp.add(bar == due).only_enforce_if(waits)  # polls again in the next tick
        cp.add_implication(waits, full)
        cp.add(enter == bar + waits).only_enforce_if(full)
        cp.add(bar > due).only_enforce_if(full, ~waits)
        late = cp.new_bool_var(f"late_{i}")
        cp.add_max_equality(late, [full, with_it])
        return enter, late

    def enter_after(self, i: int, base: int, leaves: list[int], follows: bool) -> tuple[int, bool]:
        """`entry` in numbers: `base` is when the job before entered, `leaves` when all before it leave."""
        due, with_it = base + self.gap[i], follows and self.gap[i] == 0
        if self.cap is None or i < self.cap or (bar := sorted(leaves)[-self.cap]) < due + with_it:
            return due, with_it
        if self.redraw is not None:
            return bar + 1 + self.redraw[i], False
        return max(bar, due + 1), True

    def greedy(self) -> Trace:
        """Job by job, each task in topological order to the PE where it finishes first, in gaps that are left."""
        lines: list[list[tuple[int, int, int]]] = [[] for _ in range(self.platform.num_pes)]
        placed, enters, leaves, late = [], [], [], False
        for i, graph in enumerate(self.graphs):
            base = enters[-1] if enters else 0
            enter, late = self.enter_after(i, base, leaves, late)
            pe, start, finish, retire = np.zeros((4, graph.num_tasks), np.int64)
            for k in topological(graph):
                ready = max([enter, *(int(retire[j]) for j in graph.before[k])])
                arrive = np.maximum(graph.arrive(k, pe, finish), ready)
                found = []
                for p in graph.able(k):
                    time_ = graph.exec_time[k][p] or 0
                    begin, index = gap(lines[p], int(arrive[p]), max(time_, 1))
                    found.append((begin + time_, p, begin, index))
                finish[k], pe[k], start[k], index = min(found)
                retire[k] = max(finish[k], start[k] + 1)
                lines[pe[k]].insert(index, (int(start[k]), int(retire[k]), k))
            placed.append((pe, start))
            enters.append(enter)
            leaves.append(int(retire.max()))
        return self.trace(placed, enters)

    def trace(self, placed: Sequence[tuple[np.ndarray, np.ndarray]], enters: Sequence[int]) -> Trace:
        tasks, jobs = [], []
        for i, ((pe, start), enter) in enumerate(zip(placed, enters, strict=True)):
            ends = [
                int(begin) + (self.graphs[i].exec_time[k][p] or 0)
                for k, (p, begin) in enumerate(zip(pe, start, strict=True))
            ]
            tasks += [(i, k, int(pe[k]), int(start[k]), end) for k, end in enumerate(ends)]
            jobs.append((enter, max(ends), max(ends) - enter))
        return Trace(tasks, jobs, self.platform, self.jobs, max(job[1] for job in jobs))


def _rows(trace: Trace, i: int, num_tasks: int) -> StaticSchedule:
    """The tasks of one job of a complete trace."""
    rows = [row for row in trace.tasks if row.job == i]
    pe, start, finish = (np.array([row[column] for row in rows], np.int32) for column in (2, 3, 4))
    assert len(rows) == num_tasks
    return StaticSchedule(pe, start, finish, int(finish.max()))


def _shortest(graph: TaskGraph, least: int) -> int:
    """The longest path of shortest times, transfers and waiting for PEs left out."""
    finish, retire = np.zeros((2, graph.num_tasks), np.int64)
    for k in topological(graph):
        time_ = min(time for time in graph.exec_time[k] if time is not None)
        begin = max((int(retire[j]) for j in graph.before[k]), default=0)
        finish[k], retire[k] = begin + time_, begin + max(time_, least)
    return int(finish.max())
