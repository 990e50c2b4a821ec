"""Exact schedules of a short stream with CP-SAT of OR-Tools, which is imported when called.

The stream is clairvoyant: all profiles, requests and times are known in advance. Modelled are the
times and transfers of tasks, PEs that do one task at a time, tasks of length 0 that hold their PE
for 1 us, and the entry of jobs exactly as `ds3`, `socrates` and `open` define it, which under a cap
depends on when earlier jobs leave. Relaxed is when a task may start: at any time, where a scheduler
has to decide as soon as a task is ready and cannot keep a PE idle for a task that is not. So the
bound holds for every scheduler that meets these requests, and a schedule that reaches it need not
be reachable by one. Noise is not modelled.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxsched.core.result import Result
from jaxsched.envs.soc.exact_graph import GRACE, WHO, Model, solve_graph
from jaxsched.envs.soc.instances import to_host
from jaxsched.envs.soc.platforms import Job, Platform, check
from jaxsched.envs.soc.settings import CAP_MODES
from jaxsched.envs.soc.static import Lines, StaticSchedule, nothing_placed
from jaxsched.envs.soc.task_graph import job_task_graph
from jaxsched.envs.soc.trace import Trace
from jaxsched.envs.soc.types import Instance
from jaxsched.envs.soc.validate import validate
from jaxsched.host.checks import INT32_MAX, array, integer, integers, rising
from jaxsched.host.cpsat import Solver, producer
from jaxsched.host.deadline import Deadline
from jaxsched.host.errors import InstanceError, UnknownNameError

MAX_STREAM = 16  # jobs; with a cap the model has a constraint for every group of cap jobs


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
    """The least summed latency of a short stream, known in advance, that CP-SAT finds, with the
    bound it proves.

    The arguments up to `max_jobs_in_system` are those of `simulate`; `cap_mode` and `redraw` those
    of `validate`. The head of this module says what is modelled. The search starts from `hint` (a
    complete trace of the same stream), or from a greedy schedule job by job, and is confined to
    schedules that are no worse; `time_limit`, in seconds, covers the whole call. The `method` of
    the result is `cp_sat`, or the start that it did not improve: `hint` or `earliest_finish`. At
    most 16 jobs; six to eight of ten tasks take seconds to minutes.

    Returns a `Result` whose `schedule` is a `Trace` and whose `objective` is the summed latency in
    us. Raises `InstanceError`, `UnknownNameError`, `ValueError` for an invalid hint or a negative
    limit, `ImportError` without OR-Tools.
    """
    solver = Solver(WHO, time_limit, num_workers, seed)
    stream = _Stream(platform, jobs, arrivals, communication, max_jobs_in_system, cap_mode, redraw)
    start = "hint"
    if hint is None:
        hint, start = stream.greedy(Deadline(solver.deadline.left() + GRACE)), "earliest_finish"
    elif faults := [*stream.faults(hint), *(f"job {i} is unfinished" for i in hint.unfinished)]:
        raise ValueError(f"the hint is not a complete trace of this stream: {faults[0]}")
    trace, ceiling = hint, _summed_latency(hint)
    # No job is faster than alone; this bound is much of what can be proved of the sum.
    alone: dict[Job, int] = {}
    share = 1 / (4 * len(set(jobs)))
    for job, graph in zip(jobs, stream.graphs, strict=True):
        if job not in alone:
            until = solver.deadline.part(share)
            alone[job] = graph.critical_path(least=1)
            if not until.is_over():
                alone[job] = solve_graph(graph, solver, until, until, least=1).bound
    shortest = [alone[job] for job in jobs]
    trivial = sum(graph.critical_path(least=1) for graph in stream.graphs)
    bound = sum(shortest)
    with contextlib.suppress(TimeoutError):
        model = _StreamModel(stream, solver.cp_model, hint, shortest, ceiling, solver.deadline)
        bound = solver.solve(model.cp, bound, ceiling)
        if solver.found:
            found = model.trace(solver)
            trace = found if _summed_latency(found) < ceiling else hint
        bound = _summed_latency(trace) if solver.optimal else bound
    objective = _summed_latency(trace)
    proved = bound == objective
    method = producer(start, improved=trace is not hint, proved=proved and trivial < bound)
    return Result(trace, objective, bound, proved, method, solver.deadline.spent())


def solve_exact(
    instance: Instance,
    time_limit: float = 60.0,
    hint: Trace | None = None,
    *,
    communication: str = "pe_to_pe",
    cap_mode: str = "ds3",
    reward: str = "latency",
    num_workers: int | None = None,
    seed: int = 0,
) -> Result:
    """`solve_stream` of an instance of `SoC-v0`, under the settings of the environment.

    Raises also `InstanceError` for what is not modelled: noise, a horizon, a warm-up, another
    objective.
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


def _summed_latency(trace: Trace) -> int:
    return sum(job.latency or 0 for job in trace.jobs)


class _StreamModel(Model):
    """The model of a stream. Building it raises `TimeoutError` past the `deadline`."""

    def __init__(
        self,
        stream: _Stream,
        cp_model: Any,
        hint: Trace,
        shortest: Sequence[int],  # [job] no latency is less, us
        ceiling: int,  # the largest sum that is looked for, us
        deadline: Deadline,
    ):
        super().__init__(cp_model, stream.platform.num_pes, stream.horizon, deadline)
        self.stream, self.enters, self.tasks, leaves, latencies = stream, [], [], [], []
        late: Any = 0
        for i, graph in enumerate(stream.graphs):
            enter, late = self._add_entry(i, self.enters[-1] if self.enters else 0, leaves, late)
            tasks = self.add_graph(graph, least=1, release=enter, hint=_schedule_of_job(hint, i))
            finish, leave = self.time(f"finish_{i}"), self.time(f"leave_{i}")
            self.cp.add_max_equality(finish, tasks.ends)
            self.cp.add_max_equality(leave, tasks.retires)
            latency = self.cp.new_int_var(shortest[i], max(ceiling, shortest[i]), f"latency_{i}")
            self.cp.add(latency == finish - enter)
            self.cp.add_hint(enter, hint.jobs[i].arrival)
            self.cp.add_hint(latency, hint.jobs[i].latency or 0)
            latencies.append(latency)
            leaves.append(leave)
            self.tasks.append(tasks)
            self.enters.append(enter)
        self.no_overlap()
        self.cp.add(sum(latencies) <= ceiling)
        self.cp.minimize(sum(latencies))

    def _add_entry(self, i: int, base: Any, leaves: list[Any], follows: Any) -> tuple[Any, Any]:
        """When job `i` enters, and whether that is when those that leave then have left (step 3).

        `base`: when the job before it entered, `follows`: whether that did so in step 3; `leaves`:
        when all before it leave the system.
        """
        cp, stream = self.cp, self.stream
        due = self.time(f"due_{i}")
        cp.add(due == base + stream.gap[i])
        with_it = follows if stream.gap[i] == 0 else 0  # in the same step as the job before it
        if stream.cap is None or i < stream.cap:
            return due, with_it
        # The job finds no room at t while `cap` of those before it leave at t or later. `bar`: the
        # last such tick.
        groups = []
        for group in itertools.combinations(range(i), stream.cap):
            self.deadline.check()
            groups.append(self.time(f"group_{i}_{group}"))
            cp.add_min_equality(groups[-1], [leaves[j] for j in group])
        bar = self.time(f"room_{i}")
        cp.add_max_equality(bar, groups)
        enter = self.time(f"enter_{i}")
        full, waits = cp.new_bool_var(f"full_{i}"), cp.new_bool_var(f"waits_{i}")
        cp.add(bar >= due + with_it).only_enforce_if(full)
        cp.add(bar < due + with_it).only_enforce_if(~full)
        cp.add(enter == due).only_enforce_if(~full)
        if stream.redraw is not None:
            cp.add(enter == bar + 1 + stream.redraw[i]).only_enforce_if(full)
            return enter, 0
        cp.add(bar == due).only_enforce_if(waits)  # polls again in the next tick
        cp.add_implication(waits, full)
        cp.add(enter == bar + waits).only_enforce_if(full)
        cp.add(bar > due).only_enforce_if(full, ~waits)
        late = cp.new_bool_var(f"late_{i}")
        cp.add_max_equality(late, [full, with_it])
        return enter, late

    def trace(self, solver: Solver) -> Trace:
        """The solution found."""
        placed = [tasks.values(solver) for tasks in self.tasks]
        return self.stream.trace(placed, [solver.value(enter) for enter in self.enters])


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
        if cap_mode not in CAP_MODES:
            raise UnknownNameError("cap_mode", cap_mode, CAP_MODES)
        jobs = array(jobs, "jobs")
        if not 0 < len(jobs) <= MAX_STREAM:
            raise InstanceError(
                f"the exact solver takes streams of 1 to {MAX_STREAM} jobs, this one has {len(jobs)}: play a rule, or"
                f" draw shorter streams (num_jobs={MAX_STREAM // 2})"
            )
        check(platform, jobs)
        times = rising(arrivals, "arrivals")
        if len(times) != len(jobs):
            raise InstanceError(f"{len(times)} arrivals for {len(jobs)} jobs")
        self.gap = [time - before for before, time in zip([0, *times], times, strict=False)]
        self.cap = None
        if cap is not None and cap_mode != "open":
            self.cap = integer(cap, "max_jobs_in_system", least=1)
        self.redraw = None
        if cap_mode == "socrates":
            self.redraw = None if redraw is None else integers(redraw, "redraw")
            if self.redraw is None or len(self.redraw) != len(jobs):
                raise InstanceError("cap_mode='socrates' needs one `redraw` per job")
        self.platform, self.jobs, self.arrivals = platform, list(jobs), times
        self.settings = {
            "communication": communication,
            "cap_mode": cap_mode,
            "redraw": self.redraw,
        }
        made = {job: job_task_graph(platform, job, communication) for job in dict.fromkeys(jobs)}
        self.graphs = [made[job] for job in jobs]
        # Everything in a row, one job after the other.
        polls = [1 + us for us in self.redraw] if self.redraw is not None else [1] * len(jobs)
        self.horizon = (
            times[-1]
            + sum(graph.horizon for graph in self.graphs)
            + (sum(polls) if self.cap else 0)
        )
        if self.horizon > INT32_MAX:
            raise InstanceError(
                f"the stream in a row may take {self.horizon} us, which exceeds int32"
            )

    def faults(self, trace: Trace) -> list[str]:
        if len(trace.jobs) != len(self.jobs):
            return [f"{len(trace.jobs)} jobs, expected {len(self.jobs)}"]
        cap = {"max_jobs_in_system": self.cap, "arrivals": self.arrivals}
        return validate(self.platform, self.jobs, trace, **cap, **self.settings)  # pyright: ignore[reportArgumentType]

    def enter_after(self, i: int, base: int, leaves: list[int], follows: bool) -> tuple[int, bool]:
        """What `_StreamModel._add_entry` models, in numbers."""
        due, with_it = base + self.gap[i], follows and self.gap[i] == 0
        if self.cap is None or i < self.cap or (bar := sorted(leaves)[-self.cap]) < due + with_it:
            return due, with_it
        if self.redraw is not None:
            return bar + 1 + self.redraw[i], False
        return max(bar, due + 1), True

    def greedy(self, deadline: Deadline) -> Trace:
        """Job by job, each task in topological order to the PE where it finishes first, in gaps.

        Past the `deadline`, behind what stands there.
        """
        lines = Lines(self.platform.num_pes, least=1, deadline=deadline)
        schedules, enters, leaves, late = [], [], [], False
        for i, graph in enumerate(self.graphs):
            enter, late = self.enter_after(i, enters[-1] if enters else 0, leaves, late)
            placed = nothing_placed(graph)
            for k in graph.order:
                lines.place(graph, placed, k, release=enter)
            schedules.append((placed.pe, placed.start))
            enters.append(enter)
            leaves.append(int(np.maximum(placed.finish, placed.start + 1).max()))
        return self.trace(schedules, enters)

    def trace(
        self, placed: Sequence[tuple[np.ndarray, np.ndarray]], enters: Sequence[int]
    ) -> Trace:
        """From PE and start of each task of each job, and when the jobs enter."""
        tasks, jobs = [], []
        for i, (graph, enter) in enumerate(zip(self.graphs, enters, strict=True)):
            (pe, start), ends = placed[i], []
            for k, (p, begin) in enumerate(zip(pe.tolist(), start.tolist(), strict=True)):
                ends.append(begin + graph.time(k, p))
                tasks.append((i, k, p, begin, ends[-1]))
            jobs.append((enter, max(ends), max(ends) - enter))
        return Trace(tasks, jobs, self.platform, self.jobs, max(job[1] for job in jobs))


def _schedule_of_job(trace: Trace, i: int) -> StaticSchedule:
    """The tasks of one job of a complete trace."""
    rows = [row for row in trace.tasks if row.job == i]
    pe, start, finish = (np.array([row[column] for row in rows], np.int32) for column in (2, 3, 4))
    return StaticSchedule(pe, start, finish, int(finish.max()))
