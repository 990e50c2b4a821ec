"""Exact solution with the constraint solver CP-SAT of OR-Tools (imported when called)."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from jaxsched.core.cpsat import Solver
from jaxsched.core.result import Result
from jaxsched.envs.job_shop.lists import check_objective, to_jobs
from jaxsched.envs.job_shop.types import Instance, Schedule
from jaxsched.envs.job_shop.validate import measure, validate


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

    `objective`: `makespan`, `flow_time` (sum of completion - release) or `weighted_tardiness` (sum of weight times
    lateness past the due date). The search starts from `hint`, or from a greedy non-delay schedule where none is given,
    and is confined to schedules that are no worse: the result is never worse than the hint, and there always is one.
    `num_workers`: threads, by default all cores; with one and enough time the result depends on `seed` only. The model
    is the usual one: an interval per operation, no overlap on a machine, precedence along a job.

    Raises `UnknownNameError` for an unknown objective, `ValueError` for an invalid hint or a negative limit,
    `ImportError` without OR-Tools.
    """
    solver = Solver("solve_exact", time_limit, num_workers, seed)
    began = time.perf_counter()
    check_objective(instance, objective)
    jobs, release = to_jobs(instance), np.asarray(instance.release).tolist()
    due_mask, due_dates = np.asarray(instance.due_mask).tolist(), np.asarray(instance.due).tolist()
    due = [date if given else None for date, given in zip(due_dates, due_mask, strict=True)]
    weight = np.asarray(instance.weight).tolist()
    if hint is None:
        hint = _greedy(jobs, release, due, objective)
    elif faults := validate(instance, hint):
        raise ValueError(f"the hint is not a valid schedule: {faults[0]}")
    ceiling = measure(instance, hint, objective)
    horizon, bound = int(hint.makespan), trivial_bound(jobs, release)
    if objective != "makespan":  # a better sum may come with a larger makespan, but not beyond all work in a row
        horizon = max([horizon, max(release, default=0) + sum(duration for job in jobs for _, duration in job)])
        bound = 0

    model = solver.cp_model.CpModel()
    cost = model.new_int_var(bound, ceiling, objective)
    model.add_hint(cost, ceiling)
    starts, intervals, ends = [], {}, []
    for j, job in enumerate(jobs):
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
        starts.append(row)
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

    bound = solver.solve(model, bound, ceiling)
    schedule = hint
    if solver.found:
        found = _schedule(jobs, [[solver.value(start) for start in row] for row in starts])
        if measure(instance, found, objective) < ceiling:
            schedule = found
    value = measure(instance, schedule, objective)
    bound = value if solver.optimal else min(bound, value)
    return Result(
        solution=schedule,
        objective=value,
        bound=bound,
        proved=bound == value,
        method="cp_sat",
        seconds=time.perf_counter() - began,
    )


def _schedule(jobs: list[list[tuple[int, int]]], start: list[list[int]]) -> Schedule:
    ends = [row[-1] + job[-1][1] for job, row in zip(jobs, start, strict=True) if row]
    return Schedule(start=start, makespan=max(ends, default=0))


def trivial_bound(jobs: list[list[tuple[int, int]]], release: list[int]) -> int:
    """The larger of the longest job (with its release date) and the busiest machine."""
    load: dict[int, int] = {}
    longest = 0
    for job, head in zip(jobs, release, strict=True):
        for machine, duration in job:
            load[machine] = load.get(machine, 0) + duration
        longest = max(longest, head + sum(duration for _, duration in job)) if job else longest
    return max(longest, *load.values(), 0)


def _greedy(
    jobs: list[list[tuple[int, int]]],
    release: list[int],
    due: list[int | None],
    objective: str,
) -> Schedule:
    """Non-delay dispatching: what can start first does; of several, the job with the most work left.

    For the flow time the one with the least, for tardiness the one with the earliest due date
    (None: last).
    """
    job_ready, machine_ready = list(release), {}
    work = [sum(duration for _, duration in job) for job in jobs]
    start: list[list[int]] = [[] for _ in jobs]
    waiting = {j for j, job in enumerate(jobs) if job}

    def earliest(j: int) -> int:
        return max(job_ready[j], machine_ready.get(jobs[j][len(start[j])][0], 0))

    priorities = {
        "makespan": lambda j: -work[j],
        "flow_time": lambda j: work[j],
        "weighted_tardiness": lambda j: math.inf if due[j] is None else due[j],
    }
    priority = priorities[objective]
    while waiting:
        j = min(waiting, key=lambda j: (earliest(j), priority(j), j))
        machine, duration = jobs[j][len(start[j])]
        begin = earliest(j)
        start[j].append(begin)
        job_ready[j] = machine_ready[machine] = begin + duration
        work[j] -= duration
        if len(start[j]) == len(jobs[j]):
            waiting.remove(j)
    return _schedule(jobs, start)
