"""Exact solution without interruptions, with the constraint solver CP-SAT of OR-Tools (imported
when called).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxsched.core.result import Result
from jaxsched.envs.job_shop.blocking.sequences import instants, refuse_interruptions, route
from jaxsched.envs.job_shop.blocking.types import Instance, Schedule
from jaxsched.envs.job_shop.blocking.validate import validate
from jaxsched.envs.job_shop.exact import improve, trivial_bound
from jaxsched.envs.job_shop.lists import Jobs, to_jobs
from jaxsched.host.cpsat import Solver


def solve_exact(
    instance: Instance,
    time_limit: float = 60.0,
    hint: Schedule | None = None,
    *,
    swap: bool = True,
    num_workers: int | None = None,
    seed: int = 0,
) -> Result:
    """The best schedule CP-SAT finds in `time_limit` seconds, with the bound it proves.

    An operation takes its machine from its start until the job begins its next one, and these spans
    do not overlap; where jobs exchange machines at one moment, they touch. With operations of
    duration 0, or without `swap`, time is counted in instants, of which a tick has more than can
    follow each other within a moment: an operation of duration 0 takes one, and without `swap` so
    does every move. The result is never worse than `hint`, and there always is one. `time_limit`
    covers the whole call, the building of the model included. `num_workers`: threads, by default
    all cores; with one and enough time the result depends on `seed` only.

    The `method` of the result is `cp_sat` where that improved the start. Otherwise it is the
    start: `hint`, or `one_by_one`, each job after the one before it has left the shop; and `...,
    proved by cp_sat` where CP-SAT proved it optimal.

    Raises `InstanceError` for a shop that is interrupted, `ValueError` for an invalid hint or a
    negative limit, `ImportError` without OR-Tools.
    """
    solver = Solver("solve_exact", time_limit, num_workers, seed)
    refuse_interruptions(instance)
    padded, dates = to_jobs(instance), np.asarray(instance.release).tolist()
    jobs = [job for job in padded if job]
    release = [date for date, job in zip(dates, padded, strict=True) if job]
    machines = int(np.asarray(instance.machine_mask).sum())
    start = "hint"
    if hint is None:
        hint, start = _one_by_one(jobs, release, machines), "one_by_one"
    elif faults := validate(instance, hint, swap=swap):
        raise ValueError(f"the hint is not a valid schedule: {faults[0]}")
    trivial = trivial_bound(jobs, release)

    def build() -> tuple[Any, Callable[[], Schedule]]:
        model = _Model(solver, jobs, release, machines, hint, trivial, swap)

        def read() -> Schedule:
            starts = [[solver.value(each) // model.tick for each in row] for row in model.starts]
            return _schedule(jobs, starts, machines)

        return model.cp, read

    return improve(solver, hint, start, trivial, build, lambda schedule: int(schedule.makespan))


class _Model:
    """`cp` minimises the makespan; `starts` by job and operation, in units of `1 / tick`.

    Building it raises `TimeoutError` past the deadline of the solver.
    """

    def __init__(
        self,
        solver: Solver,
        jobs: Jobs,
        release: list[int],
        machines: int,
        hint: Schedule,
        bound: int,
        swap: bool,
    ):
        self.cp = model = solver.cp_model.CpModel()
        self.starts: list[list[Any]] = []
        ceiling = int(hint.makespan)
        fine = not swap or any(duration == 0 for job in jobs for _, duration in job)
        self.tick = tick = instants(jobs) if fine else 1
        horizon = tick * (ceiling + 1)
        makespan = model.new_int_var(bound, ceiling, "makespan")
        model.add_hint(makespan, ceiling)
        spans: dict[int, list[Any]] = {}
        inside = []
        for j, job in enumerate(jobs):
            solver.deadline.check()
            length = [route(jobs, j, k, tick) if fine else job[k][1] for k in range(len(job))]
            row = [
                model.new_int_var(tick * release[j], horizon, f"start_{j}_{k}")
                for k in range(len(job))
            ]
            for k, (machine, _) in enumerate(job):
                model.add_hint(row[k], tick * int(hint.start[j][k]))
                if k + 1 == len(job):
                    span = model.new_fixed_size_interval_var(row[k], length[k], f"span_{j}_{k}")
                    end = row[k] + length[k]
                else:
                    model.add(row[k + 1] >= row[k] + length[k])
                    leaves = row[k + 1] + (not swap and job[k + 1][0] != machine)
                    size = model.new_int_var(length[k], horizon, f"size_{j}_{k}")
                    span = model.new_interval_var(row[k], size, leaves, f"span_{j}_{k}")
                spans.setdefault(machine, []).append(span)
            end = row[-1] + length[-1]
            if tick == 1:
                model.add(makespan >= end)
            else:
                model.add(tick * makespan + (tick - 1) >= end)
            if swap:
                stay = model.new_int_var(sum(length), horizon, f"stay_{j}")
                inside.append(model.new_interval_var(row[0], stay, end, f"inside_{j}"))
            self.starts.append(row)
        for on_machine in spans.values():
            model.add_no_overlap(on_machine)
        if swap and len(jobs) > machines:  # implied: a job in the shop holds a machine
            model.add_cumulative(inside, [1] * len(inside), machines)
        model.minimize(makespan)


def _schedule(jobs: Jobs, start: list[list[int]], machines: int) -> Schedule:
    makespan = max((row[-1] + job[-1][1] for job, row in zip(jobs, start, strict=True)), default=0)
    return Schedule(start=start, makespan=makespan, down=[[] for _ in range(machines)])


def _one_by_one(jobs: Jobs, release: list[int], machines: int) -> Schedule:
    """A job begins when the one before it has left the shop."""
    now, start = 0, [list[int]() for _ in jobs]
    for j in sorted(range(len(jobs)), key=lambda j: release[j]):
        now = max(now, release[j])
        for _, duration in jobs[j]:
            start[j].append(now)
            now += duration
    return _schedule(jobs, start, machines)
