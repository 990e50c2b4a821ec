"""Exact solution with the constraint solver CP-SAT of OR-Tools (imported when called)."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxsched.core.result import Result
from jaxsched.envs.job_shop.dispatching import WaitingOperations
from jaxsched.envs.job_shop.lists import Jobs, check_objective, to_jobs
from jaxsched.envs.job_shop.types import Instance, Schedule
from jaxsched.envs.job_shop.validate import measure, validate
from jaxsched.host.cpsat import Solver, producer

START_RULES = {  # what `_greedy` is, by objective
    "makespan": "non_delay mwkr",
    "flow_time": "non_delay lwkr",
    "weighted_tardiness": "non_delay edd",
}


def solve_exact(
    instance: Instance,
    time_limit: float = 60.0,
    hint: Schedule | None = None,
    *,
    num_workers: int | None = None,
    seed: int = 0,
    objective: str = "makespan",
) -> Result:
    """The best schedule CP-SAT finds in `time_limit` seconds, with the bound it proves.

    `time_limit` covers the whole call, the start and the building of the model included; where the
    model cannot be built in time, the start is returned with a bound that needs no search.
    `objective`: `makespan`, `flow_time` (sum of completion - release) or `weighted_tardiness` (sum
    of weight times lateness past the due date). The search starts from `hint`, or from a greedy
    non-delay schedule where none is given, and is confined to schedules that are no worse: the
    result is never worse than the hint, and there always is one. `num_workers`: threads, by default
    all cores; with one and enough time the result depends on `seed` only. The model is the usual
    one: an interval per operation, no overlap on a machine, precedence along a job.

    The `method` of the result is `cp_sat` where that improved the start. Otherwise it is the
    start: `hint`, or the dispatching rule, `non_delay mwkr`, for the flow time `non_delay lwkr`,
    for tardiness `non_delay edd`; and `..., proved by cp_sat` where CP-SAT proved it optimal.

    Raises `UnknownNameError` for an unknown objective, `ValueError` for an invalid hint or a
    negative limit, `ImportError` without OR-Tools.
    """
    solver = Solver("solve_exact", time_limit, num_workers, seed)
    check_objective(instance, objective)
    jobs, release = to_jobs(instance), np.asarray(instance.release).tolist()
    due_mask, due_dates = np.asarray(instance.due_mask).tolist(), np.asarray(instance.due).tolist()
    due = [date if given else None for date, given in zip(due_dates, due_mask, strict=True)]
    weight = np.asarray(instance.weight).tolist()
    start = "hint"
    if hint is None:
        hint, start = _greedy(jobs, release, due, objective), START_RULES[objective]
    elif faults := validate(instance, hint):
        raise ValueError(f"the hint is not a valid schedule: {faults[0]}")
    ceiling = measure(instance, hint, objective)
    trivial = _trivial_bound(jobs, release, due, weight, objective)

    def build() -> tuple[Any, Callable[[], Schedule]]:
        model = _Model(solver, jobs, release, due, weight, hint, objective, trivial, ceiling)
        return model.cp, lambda: _schedule(
            jobs, [[solver.value(each) for each in row] for row in model.starts]
        )

    return improve(
        solver, hint, start, trivial, build, lambda schedule: measure(instance, schedule, objective)
    )


def improve(
    solver: Solver,
    hint: Any,
    start: str,
    trivial: int,
    build: Callable[[], tuple[Any, Callable[[], Any]]],
    objective: Callable[[Any], int],
) -> Result:
    """The best schedule that CP-SAT finds, or the hint, which `start` has found, and the bound.

    `trivial` is a lower bound that needs no search. `build` gives the model and a function that
    reads a schedule from its solution; where its time is over, it raises `TimeoutError`.
    """
    schedule, bound, value = hint, trivial, objective(hint)
    if trivial < value:
        with contextlib.suppress(TimeoutError):
            model, read = build()
            bound = solver.solve(model, trivial, value)
            if solver.found:
                schedule = min(hint, read(), key=objective)
    value = objective(schedule)
    bound = value if solver.optimal else min(bound, value)
    return Result(
        solution=schedule,
        objective=value,
        bound=bound,
        proved=bound == value,
        method=producer(start, improved=schedule is not hint, proved=trivial < value == bound),
        seconds=solver.deadline.spent(),
    )


class _Model:
    """`cp` minimises the objective; `starts` are its variables by job and operation.

    Building it raises `TimeoutError` past the deadline of the solver.
    """

    def __init__(
        self,
        solver: Solver,
        jobs: Jobs,
        release: list[int],
        due: list[int | None],
        weight: list[int],
        hint: Schedule,
        objective: str,
        bound: int,
        ceiling: int,  # the objective of the hint
    ):
        self.cp = model = solver.cp_model.CpModel()
        self.starts: list[list[Any]] = []
        horizon = int(hint.makespan)
        # A better sum may come with a larger makespan, but not beyond all work in a row.
        if objective != "makespan":
            work = sum(duration for job in jobs for _, duration in job)
            horizon = max(horizon, max(release, default=0) + work)
        cost = model.new_int_var(bound, ceiling, objective)
        model.add_hint(cost, ceiling)
        intervals, ends = {}, []
        for j, job in enumerate(jobs):
            solver.deadline.check()
            head, tail, row = release[j], sum(duration for _, duration in job), []
            for k, (machine, duration) in enumerate(job):
                start = model.new_int_var(head, horizon - tail, f"start_{j}_{k}")
                model.add_hint(start, int(hint.start[j][k]))
                interval = model.new_fixed_size_interval_var(start, duration, f"interval_{j}_{k}")
                intervals.setdefault(machine, []).append(interval)
                if row:
                    model.add(start >= row[-1] + job[k - 1][1])
                row.append(start)
                head, tail = head + duration, tail - duration
            if row:
                ends.append((j, row[-1] + job[-1][1]))
            self.starts.append(row)
        if objective == "makespan":
            for _, end in ends:
                model.add(cost >= end)
        elif objective == "flow_time":
            model.add(cost == sum((end - release[j] for j, end in ends), 0))
        else:
            late: list[Any] = []
            for j, end in ends:
                date = due[j]
                if date is not None and weight[j] > 0:
                    tardiness = model.new_int_var(0, max(horizon - date, 0), f"tardiness_{j}")
                    model.add(tardiness >= end - date)
                    model.add_hint(tardiness, max(hint.start[j][-1] + jobs[j][-1][1] - date, 0))
                    late.append(weight[j] * tardiness)
            model.add(cost == sum(late, 0))
        for on_machine in intervals.values():
            model.add_no_overlap(on_machine)
        model.minimize(cost)


def _schedule(jobs: Jobs, start: list[list[int]]) -> Schedule:
    ends = [row[-1] + job[-1][1] for job, row in zip(jobs, start, strict=True) if row]
    return Schedule(start=start, makespan=max(ends, default=0))


def trivial_bound(jobs: Jobs, release: list[int]) -> int:
    """The larger of the longest job (with its release date) and the busiest machine."""
    load: dict[int, int] = {}
    longest = 0
    for job, head in zip(jobs, release, strict=True):
        for machine, duration in job:
            load[machine] = load.get(machine, 0) + duration
        longest = max(longest, head + sum(duration for _, duration in job)) if job else longest
    return max(longest, *load.values(), 0)


def _trivial_bound(
    jobs: Jobs,
    release: list[int],
    due: list[int | None],
    weight: list[int],
    objective: str,
) -> int:
    """`trivial_bound`, or the sum of flow times or tardiness of every job alone in the shop."""
    if objective == "makespan":
        return trivial_bound(jobs, release)
    total = 0
    for j, job in enumerate(jobs):
        work, date = sum(duration for _, duration in job), due[j]
        if objective == "flow_time":
            total += work
        elif job and date is not None:
            total += weight[j] * max(release[j] + work - date, 0)
    return total


def _greedy(
    jobs: Jobs,
    release: list[int],
    due: list[int | None],
    objective: str,
) -> Schedule:
    """Non-delay dispatching: what can start first does; of several, the job with the most work
    left.

    For the flow time the one with the least, for tardiness the one with the earliest due date
    (None: last). Further ties go to the lowest job.
    """
    work = [sum(duration for _, duration in job) for job in jobs]
    start: list[list[int]] = [[] for _ in jobs]
    waiting = WaitingOperations(len(jobs))

    def wait(j: int, ready: int) -> None:
        date = due[j]
        priorities = {
            "makespan": -work[j],
            "flow_time": work[j],
            "weighted_tardiness": math.inf if date is None else date,
        }
        waiting.add(j, jobs[j][len(start[j])][0], ready, 0, priorities[objective])

    for j, job in enumerate(jobs):
        if job:
            wait(j, release[j])
    for _ in range(sum(map(len, jobs))):
        j, machine, begin = waiting.dispatch()
        duration = jobs[j][len(start[j])][1]
        waiting.occupy(machine, begin + duration)
        start[j].append(begin)
        work[j] -= duration
        if len(start[j]) < len(jobs[j]):
            wait(j, begin + duration)
    return _schedule(jobs, start)
