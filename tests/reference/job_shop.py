"""Job shop in plain Python: the oracle of the tests and the plain-Python baseline of the throughput benchmark.

Written from the problem statement alone: ints, lists and exact fractions, no NumPy, nothing of jaxsched. A job is a
list of `(machine, duration)` in route order; jobs may be ragged, revisit a machine and hold operations of duration 0.
A decision places the next operation of one job at `max(job ready, machine ready)`, after all that its machine has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import inf
from random import Random
from typing import NamedTuple

Jobs = Sequence[Sequence[tuple[int, int]]]


class Rollout(NamedTuple):
    """A finished play: the dispatched jobs in order, `start[job][op]` and the makespan."""

    sequence: list[int]
    start: list[list[int]]
    makespan: int


class Simulator:
    """A partial schedule. `release` defaults to 0, `due` to None (no due date), `weight` to 1, each one per job."""

    def __init__(
        self,
        jobs: Jobs,
        release: Sequence[int] | None = None,
        due: Sequence[int | None] | None = None,
        weight: Sequence[int] | None = None,
    ):
        self.jobs = [list(job) for job in jobs]
        num_machines = 1 + max((machine for job in self.jobs for machine, _ in job), default=-1)
        self.release = list(release) if release is not None else [0] * len(self.jobs)
        self.due = list(due) if due is not None else [None] * len(self.jobs)
        self.weight = list(weight) if weight is not None else [1] * len(self.jobs)
        self.total_work = [sum(duration for _, duration in job) for job in self.jobs]
        self.next_op = [0] * len(self.jobs)
        self.job_ready = list(self.release)
        self.machine_ready = [0] * num_machines
        self.work_left = list(self.total_work)
        self.load_left = [0] * num_machines
        for job in self.jobs:
            for machine, duration in job:
                self.load_left[machine] += duration
        self.start: list[list[int]] = [[] for _ in self.jobs]

    def copy(self) -> Simulator:
        """An independent partial schedule of the same jobs."""
        other = Simulator.__new__(Simulator)
        other.__dict__.update(self.__dict__)  # what apply never writes to is shared
        other.next_op, other.job_ready, other.machine_ready = self.next_op[:], self.job_ready[:], self.machine_ready[:]
        other.work_left, other.load_left = self.work_left[:], self.load_left[:]
        other.start = [row[:] for row in self.start]
        return other

    @property
    def unfinished(self) -> list[int]:
        """Jobs with an operation left, in ascending order."""
        return [job for job, ops in enumerate(self.jobs) if self.next_op[job] < len(ops)]

    @property
    def done(self) -> bool:
        """Every operation is placed."""
        return not self.unfinished

    @property
    def makespan(self) -> int:
        """The latest end of a placed operation, 0 before the first."""
        return max(self.machine_ready, default=0)

    def earliest_start(self, job: int) -> int:
        """When the next operation of an unfinished job would start."""
        machine, _ = self.jobs[job][self.next_op[job]]
        return max(self.job_ready[job], self.machine_ready[machine])

    def clock(self) -> int:
        """The smallest earliest start of the unfinished jobs; the makespan when there are none."""
        return min((self.earliest_start(job) for job in self.unfinished), default=self.makespan)

    def legal(self, candidates: str = "any") -> list[int]:
        """`any`: every unfinished job; `non_delay`: those that can start at the clock. Ascending."""
        if candidates == "any":
            return self.unfinished
        if candidates == "non_delay":
            clock = self.clock()
            return [job for job in self.unfinished if self.earliest_start(job) == clock]
        raise ValueError(f"unknown candidates {candidates!r}")

    def apply(self, job: int) -> None:
        """Place the next operation of an unfinished job."""
        op = self.next_op[job]
        machine, duration = self.jobs[job][op]
        start = self.earliest_start(job)
        self.start[job].append(start)
        self.job_ready[job] = self.machine_ready[machine] = start + duration
        self.next_op[job] = op + 1
        self.work_left[job] -= duration
        self.load_left[machine] -= duration

    def makespan_bound(self) -> int:
        """No completion of this partial schedule ends before this; the makespan once done."""
        jobs = (ready + left for ready, left in zip(self.job_ready, self.work_left, strict=True))
        machines = (ready + left for ready, left in zip(self.machine_ready, self.load_left, strict=True))
        return max(max(jobs, default=0), max(machines, default=0))

    def flow_time(self) -> int:
        """Summed time from release to completion of a finished schedule."""
        return sum(end - release for end, release in zip(self.job_ready, self.release, strict=True))

    def weighted_tardiness(self) -> int:
        """Summed weight times lateness past the due date, of a finished schedule; jobs without a due date are free."""
        jobs = zip(self.job_ready, self.due, self.weight, strict=True)
        return sum(weight * max(0, end - due) for end, due, weight in jobs if due is not None)


def _duration(sim: Simulator, job: int) -> int:
    return sim.jobs[job][sim.next_op[job]][1]


def _ops_left(sim: Simulator, job: int) -> int:
    return len(sim.jobs[job]) - sim.next_op[job]


def _flow_due_date_to_work(sim: Simulator, job: int) -> Fraction | float:
    """(release + work done, candidate included) / (work left, candidate included); without work left last."""
    left = sim.work_left[job]
    done = sim.total_work[job] - left + _duration(sim, job)
    return Fraction(sim.release[job] + done, left) if left else inf


def _critical_ratio(sim: Simulator, job: int) -> Fraction | float:
    """(due - clock) / work left, due = release + 1.5 total work unless given; without work left last."""
    due, left = sim.due[job], sim.work_left[job]
    twice_due = 2 * sim.release[job] + 3 * sim.total_work[job] if due is None else 2 * due
    return Fraction(twice_due - 2 * sim.clock(), 2 * left) if left else inf


RULES: dict[str, Callable[[Simulator, int], int | float | Fraction]] = {  # smallest first
    "spt": _duration,
    "lpt": lambda sim, job: -_duration(sim, job),
    "mwkr": lambda sim, job: -sim.work_left[job],
    "lwkr": lambda sim, job: sim.work_left[job],
    "mopnr": lambda sim, job: -_ops_left(sim, job),
    "lopnr": _ops_left,
    "fifo": lambda sim, job: sim.job_ready[job],
    "fdd_mwkr": _flow_due_date_to_work,
    "cr": _critical_ratio,
}


def replay(jobs: Jobs, sequence: Sequence[int], release: Sequence[int] | None = None) -> Simulator:
    """The schedule after dispatching the jobs of `sequence` in order."""
    sim = Simulator(jobs, release)
    for job in sequence:
        sim.apply(job)
    return sim


def dispatch(
    jobs: Jobs,
    rule: str,
    candidates: str = "non_delay",
    release: Sequence[int] | None = None,
    due: Sequence[int | None] | None = None,
) -> Simulator:
    """The finished schedule of a priority rule (`RULES`), ties to the lowest job."""
    sim, priority = Simulator(jobs, release, due), RULES[rule]
    while legal := sim.legal(candidates):
        sim.apply(legal[0] if len(legal) == 1 else min(legal, key=lambda job: priority(sim, job)))
    return sim


def optimum(jobs: Jobs, release: Sequence[int] | None = None, candidates: str = "any") -> int:
    """The smallest makespan over all dispatch sequences, by exhaustive search; for small instances only."""
    best = 1 + sum(duration for job in jobs for _, duration in job) + max(release or [0])  # worse than any
    seen: set[tuple[tuple[int, ...], ...]] = set()
    stack = [Simulator(jobs, release)]
    while stack:
        sim = stack.pop()
        if sim.makespan_bound() >= best:
            continue
        if sim.done:
            best = sim.makespan
            continue
        key = (tuple(sim.next_op), tuple(sim.job_ready), tuple(sim.machine_ready))
        if key in seen:
            continue
        seen.add(key)
        for job in sim.legal(candidates):
            child = sim.copy()
            child.apply(job)
            stack.append(child)
    return best


def random_rollout(jobs: Jobs, rng: Random, release: Sequence[int] | None = None) -> Rollout:
    """Play uniformly random unfinished jobs to the end, written for speed: how fast plain Python can be."""
    random = rng.random
    num_machines = 1 + max((machine for job in jobs for machine, _ in job), default=-1)
    job_ready = list(release) if release is not None else [0] * len(jobs)
    machine_ready = [0] * num_machines
    start: list[list[int]] = [[] for _ in jobs]
    unfinished = [job for job, ops in enumerate(jobs) if ops]
    sequence = []
    while unfinished:
        index = int(random() * len(unfinished))
        job = unfinished[index]
        ops, row = jobs[job], start[job]
        machine, duration = ops[len(row)]
        begin, free = job_ready[job], machine_ready[machine]
        if free > begin:
            begin = free
        row.append(begin)
        job_ready[job] = machine_ready[machine] = begin + duration
        sequence.append(job)
        if len(row) == len(ops):  # the last one takes the place of the finished job
            unfinished[index] = unfinished[-1]
            unfinished.pop()
    return Rollout(sequence, start, max(machine_ready, default=0))
