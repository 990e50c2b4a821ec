"""Exact solution with the constraint solver CP-SAT of OR-Tools (imported when called)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxsched.core.result import Result
from jaxsched.envs.job_shop.dispatching import WaitingOperations
from jaxsched.envs.job_shop.exact import improve
from jaxsched.envs.job_shop.flexible.lists import Jobs, to_jobs
from jaxsched.envs.job_shop.flexible.types import Instance, Schedule
from jaxsched.envs.job_shop.flexible.validate import validate
from jaxsched.host.cpsat import Solver


def solve_exact(
    instance: Instance,
    time_limit: float = 60.0,
    hint: Schedule | None = None,
    *,
    num_workers: int | None = None,
    seed: int = 0,
) -> Result:
    """The schedule of least makespan that CP-SAT finds in `time_limit` seconds, with the bound it
    proves.

    `time_limit` covers the whole call, the start and the building of the model included; where the
    model cannot be built in time, the start is returned with a bound that needs no search. The
    search starts from `hint`, or from a greedy schedule where none is given, and is confined to
    schedules that are no worse: the result is never worse than the hint, and there always is one.
    `num_workers`: threads, by default all cores; with one and enough time the result depends on
    `seed` only. The model is the usual one: per operation a start and a duration, an optional
    interval for each alternative of which exactly one is present, no overlap on a machine,
    precedence along a job.

    The `method` of the result is `cp_sat` where that improved the start. Otherwise it is the
    start: `hint`, or the dispatching rule `eft`, earliest finishing time; and `..., proved by
    cp_sat` where CP-SAT proved it optimal.

    Raises `ValueError` for an invalid hint or a negative limit, `ImportError` without OR-Tools.
    """
    solver = Solver("solve_exact", time_limit, num_workers, seed)
    jobs, start = to_jobs(instance), "hint"
    if hint is None:
        hint, start = _greedy(jobs), "eft"
    elif faults := validate(instance, hint):
        raise ValueError(f"the hint is not a valid schedule: {faults[0]}")
    trivial = _lower_bound(jobs)

    def build() -> tuple[Any, Callable[[], Schedule]]:
        model = _Model(solver, jobs, hint, trivial)
        return model.cp, lambda: model.schedule(solver, jobs)

    return improve(solver, hint, start, trivial, build, lambda schedule: int(schedule.makespan))


class _Model:
    """`cp` minimises the makespan; by job and operation `starts`, and the machines `chosen`.

    Building it raises `TimeoutError` past the deadline of the solver.
    """

    def __init__(self, solver: Solver, jobs: Jobs, hint: Schedule, bound: int):
        self.cp = model = solver.cp_model.CpModel()
        self.starts: list[list[Any]] = []
        self.chosen: list[list[dict[int, Any]]] = []
        horizon = int(hint.makespan)
        makespan = model.new_int_var(bound, horizon, "makespan")
        model.add_hint(makespan, horizon)
        intervals = {}
        for j, job in enumerate(jobs):
            solver.deadline.check()
            shortest = [min(ticks for _, ticks in operation) for operation in job]
            head, tail, before = 0, sum(shortest), None
            start_row, chosen_row = [], []
            for k, operation in enumerate(job):
                start = model.new_int_var(head, horizon - tail, f"start_{j}_{k}")
                end = model.new_int_var(
                    head + shortest[k], horizon - tail + shortest[k], f"end_{j}_{k}"
                )
                model.add_hint(start, int(hint.start[j][k]))
                model.add_hint(
                    end, int(hint.start[j][k]) + dict(operation)[int(hint.machine[j][k])]
                )
                if before is not None:
                    model.add(start >= before)
                present = {}
                for machine, ticks in operation:
                    if len(operation) == 1:
                        interval = model.new_fixed_size_interval_var(
                            start, ticks, f"interval_{j}_{k}"
                        )
                        model.add(end == start + ticks)
                    else:
                        present[machine] = model.new_bool_var(f"present_{j}_{k}_{machine}")
                        model.add_hint(present[machine], machine == hint.machine[j][k])
                        interval = model.new_optional_interval_var(
                            start, ticks, end, present[machine], f"interval_{j}_{k}_{machine}"
                        )
                    intervals.setdefault(machine, []).append(interval)
                if present:
                    model.add_exactly_one(present.values())
                    spread = [
                        (ticks - shortest[k], present[machine]) for machine, ticks in operation
                    ]
                    model.add(
                        end
                        == start + shortest[k] + sum(extra * literal for extra, literal in spread)
                    )
                start_row.append(start)
                chosen_row.append(present)
                before, head, tail = end, head + shortest[k], tail - shortest[k]
            if before is not None:
                model.add(makespan >= before)
            self.starts.append(start_row)
            self.chosen.append(chosen_row)
        for on_machine in intervals.values():
            model.add_no_overlap(on_machine)
        model.minimize(makespan)

    def schedule(self, solver: Solver, jobs: Jobs) -> Schedule:
        """The solution found."""
        machines = []
        for row, job in zip(self.chosen, jobs, strict=True):
            machines.append([])
            for present, operation in zip(row, job, strict=True):
                chosen = (machine for machine, literal in present.items() if solver.value(literal))
                machines[-1].append(next(chosen, operation[0][0]))
        return _schedule(
            jobs, [[solver.value(start) for start in row] for row in self.starts], machines
        )


def _schedule(jobs: Jobs, start: list[list[int]], machine: list[list[int]]) -> Schedule:
    """The schedule with these starts and machines; rows of padded jobs are left out."""
    ends = [
        begin + dict(operation)[where]
        for job, starts, machines in zip(jobs, start, machine, strict=True)
        for operation, begin, where in zip(job, starts, machines, strict=True)
    ]
    return Schedule(
        [row for row in start if row], [row for row in machine if row], max(ends, default=0)
    )


def _lower_bound(jobs: Jobs) -> int:
    """The largest of the longest job, the busiest machine, and the work of all over the number
    of machines.
    """
    load: dict[int, int] = {}
    machines: set[int] = set()
    total = longest = 0
    for job in jobs:
        work = 0
        for operation in job:
            shortest = min(ticks for _, ticks in operation)
            work += shortest
            machines |= {machine for machine, _ in operation}
            if len(operation) == 1:
                machine = operation[0][0]
                load[machine] = load.get(machine, 0) + shortest
        total, longest = total + work, max(longest, work)
    return max(longest, -(-total // max(len(machines), 1)), *load.values(), 0)


def _greedy(jobs: Jobs) -> Schedule:
    """Dispatching by earliest finish: of all pairs the one that ends first.

    Of several the one of the job with most work left. Further ties go to the lowest job, then to
    the lowest machine.
    """
    work = [sum(min(ticks for _, ticks in operation) for operation in job) for job in jobs]
    start: list[list[int]] = [[] for _ in jobs]
    chosen: list[list[int]] = [[] for _ in jobs]
    waiting = WaitingOperations(len(jobs))

    def wait(j: int, ready: int) -> None:
        for machine, ticks in jobs[j][len(start[j])]:
            waiting.add(j, machine, ready, ticks, -work[j])

    for j, job in enumerate(jobs):
        if job:
            wait(j, 0)
    for _ in range(sum(map(len, jobs))):
        j, machine, begin = waiting.dispatch()
        operation = jobs[j][len(start[j])]
        end = begin + dict(operation)[machine]
        waiting.occupy(machine, end)
        start[j].append(begin)
        chosen[j].append(machine)
        work[j] -= min(ticks for _, ticks in operation)
        if len(start[j]) < len(jobs[j]):
            wait(j, end)
    return _schedule(jobs, start, chosen)
