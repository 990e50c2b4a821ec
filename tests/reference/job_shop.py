"""Job shop in plain Python: the oracle of the tests and the plain-Python baseline of the throughput
benchmark.

Written from the problem statement alone: ints, lists and exact fractions, no NumPy, nothing of
jaxsched. A job is a list of `(machine, duration)` in route order; jobs may be ragged, revisit a
machine and hold operations of duration 0. A decision places the next operation of one job at
`max(job ready, machine ready)`, after all that its machine has; `InsertSimulator` and
`EventSimulator` follow the publications they name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import exp, inf
from random import Random
from typing import NamedTuple

Jobs = Sequence[Sequence[tuple[int, int]]]


class Rollout(NamedTuple):
    """A finished play: the dispatched jobs in order, `start[job][op]` and the makespan."""

    sequence: list[int]
    start: list[list[int]]
    makespan: int


class Simulator:
    """A partial schedule. `release` defaults to 0, `due` to None (no due date), `weight` to 1,
    each one per job.
    """

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

    def copy(self):
        """An independent partial schedule of the same jobs."""
        other = type(self).__new__(type(self))
        other.__dict__.update(self.__dict__)  # what apply never writes to is shared
        other.next_op, other.job_ready, other.machine_ready = (
            self.next_op[:],
            self.job_ready[:],
            self.machine_ready[:],
        )
        other.work_left, other.load_left = self.work_left[:], self.load_left[:]
        other.start = [row[:] for row in self.start]
        return other

    def memory(self) -> object:
        """What the future depends on beside the operations placed and the ready times."""
        return None

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
        """`any`: every unfinished job; `non_delay`: those that can start at the clock.
        Ascending.
        """
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
        machines = (
            ready + left for ready, left in zip(self.machine_ready, self.load_left, strict=True)
        )
        return max(max(jobs, default=0), max(machines, default=0))

    def completion_bounds(self) -> list[int]:
        """The earliest completion of every job, its completion once it is finished."""
        return [ready + left for ready, left in zip(self.job_ready, self.work_left, strict=True)]

    def flow_time(self) -> int:
        """Summed time from release to completion, with the jobs' bounds for those not finished."""
        return sum(
            end - release
            for end, release in zip(self.completion_bounds(), self.release, strict=True)
        )

    def weighted_tardiness(self) -> int:
        """Summed weight times lateness past the due date, likewise; jobs without a due date are
        free.
        """
        jobs = zip(self.completion_bounds(), self.due, self.weight, strict=True)
        return sum(weight * max(0, end - due) for end, due, weight in jobs if due is not None)

    def bound(self, objective: str) -> int:
        """No completion of this partial schedule has a smaller objective; the objective once
        done.
        """
        functions = {
            "makespan": self.makespan_bound,
            "flow_time": self.flow_time,
            "weighted_tardiness": self.weighted_tardiness,
        }
        return functions[objective]()


class InsertSimulator(Simulator):
    """The left shift of L2D (Zhang et al., NeurIPS 2020): into the first gap of the machine that
    is long enough.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        # (start, end) in order of time
        self.placed: list[list[tuple[int, int]]] = [[] for _ in self.machine_ready]

    def copy(self):
        other = super().copy()
        other.placed = [row[:] for row in self.placed]
        return other

    def memory(self) -> object:
        return str(self.placed)

    def _position(self, job: int) -> tuple[int, int]:
        """Where among the operations of its machine the next one of the job goes, and when it
        starts.
        """
        machine, duration = self.jobs[job][self.next_op[job]]
        begin = self.job_ready[job]
        for position, (start, end) in enumerate(self.placed[machine]):
            if begin + duration <= start:
                return position, begin
            begin = max(begin, end)
        return len(self.placed[machine]), begin

    def earliest_start(self, job: int) -> int:
        return self._position(job)[1]

    def legal(self, candidates: str = "insert") -> list[int]:
        assert candidates == "insert"
        return self.unfinished

    def apply(self, job: int) -> None:
        machine, duration = self.jobs[job][self.next_op[job]]
        position, start = self._position(job)
        before = self.machine_ready[machine]
        super().apply(job)
        assert self.start[job][-1] == start
        self.placed[machine].insert(position, (start, start + duration))
        self.machine_ready[machine] = max(before, start + duration)

    def makespan_bound(self) -> int:
        """The largest end-time bound: the true end if placed, else the end before it in the job
        plus the duration.
        """
        ends = [0]
        for job, ops in enumerate(self.jobs):
            end = self.release[job]
            for op, (_, duration) in enumerate(ops):
                end = (
                    self.start[job][op] + duration if op < len(self.start[job]) else end + duration
                )
                ends.append(end)
        return max(ends)


class EventSimulator(Simulator):
    """Tassel, Gebser & Schekotihin (ICAPS 2023): start-time bounds by propagation, and a no-op,
    action `len(jobs)`.

    Every operation is an interval of fixed length with a lower bound on its start. Precedence
    pushes it behind its predecessor, a fixed interval of its machine that it would overlap pushes
    it to that one's end; repeated until nothing moves. The clock is the least bound of a next
    operation. A no-op lifts the bounds of all next operations to the second distinct value.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.bounds = [
            [release] * len(job) for release, job in zip(self.release, self.jobs, strict=True)
        ]
        self.waited = 0  # until when the last no-op waited
        self._propagate()

    def copy(self):
        other = super().copy()
        other.bounds = [row[:] for row in self.bounds]
        return other

    def memory(self) -> object:
        return self.waited

    def _propagate(self) -> None:
        fixed = [
            (ops[op][0], start, start + ops[op][1])
            for ops, starts in zip(self.jobs, self.start, strict=True)
            for op, start in enumerate(starts)
        ]
        moved = True
        while moved:
            moved = False
            for job, ops in enumerate(self.jobs):
                for op in range(self.next_op[job], len(ops)):
                    machine, duration = ops[op]
                    bound = self.bounds[job][op]
                    if op > 0:
                        bound = max(bound, self.bounds[job][op - 1] + ops[op - 1][1])
                    for other, start, end in fixed:  # an interval of length 0 takes up its instant
                        if other == machine and bound < end and start < bound + max(duration, 1):
                            bound = end
                    moved = moved or bound != self.bounds[job][op]
                    self.bounds[job][op] = bound

    def earliest_start(self, job: int) -> int:
        return self.bounds[job][self.next_op[job]]

    def _starts(self) -> list[int]:
        """The distinct bounds of next operations, ascending."""
        return sorted({self.earliest_start(job) for job in self.unfinished})

    def legal(self, candidates: str = "event") -> list[int]:
        assert candidates == "event"
        starts = self._starts()
        jobs = [job for job in self.unfinished if self.earliest_start(job) == starts[0]]
        return jobs + [len(self.jobs)] * (len(starts) > 1)

    def apply(self, job: int) -> None:
        if job == len(self.jobs):
            self.waited = then = self._starts()[1]
            for other in self.unfinished:
                bounds = self.bounds[other]
                bounds[self.next_op[other]] = max(bounds[self.next_op[other]], then)
        else:
            self.bounds[job][self.next_op[job]] = self.clock()
            super().apply(job)
        self._propagate()

    def completion_bounds(self) -> list[int]:
        return [
            max(ready, self.waited) + left if op < len(ops) else ready
            for ready, left, op, ops in zip(
                self.job_ready, self.work_left, self.next_op, self.jobs, strict=True
            )
        ]

    def makespan_bound(self) -> int:
        """As for appended operations; what is not placed yet starts no earlier than the last
        no-op waited.
        """
        ends = [self.makespan, *self.completion_bounds()]
        for machine, ready in enumerate(self.machine_ready):
            load = self.load_left[machine]
            ends.append(max(ready, self.waited) + load if load else ready)
        return max(ends)


# by mode
SIMULATORS = {
    "any": Simulator,
    "non_delay": Simulator,
    "insert": InsertSimulator,
    "event": EventSimulator,
}


def _duration(sim: Simulator, job: int) -> int:
    return sim.jobs[job][sim.next_op[job]][1]


def _ops_left(sim: Simulator, job: int) -> int:
    return len(sim.jobs[job]) - sim.next_op[job]


def _flow_due_date_to_work(sim: Simulator, job: int) -> Fraction | float:
    """(release + work done, candidate included) / (work left, candidate included); without work
    left last.
    """
    left = sim.work_left[job]
    done = sim.total_work[job] - left + _duration(sim, job)
    return Fraction(sim.release[job] + done, left) if left else inf


def _critical_ratio(sim: Simulator, job: int) -> Fraction | float:
    """(due - clock) / work left, due = release + 1.5 total work unless given; without work left
    last.
    """
    due, left = sim.due[job], sim.work_left[job]
    twice_due = 2 * sim.release[job] + 3 * sim.total_work[job] if due is None else 2 * due
    return Fraction(twice_due - 2 * sim.clock(), 2 * left) if left else inf


def _due_date(sim: Simulator, job: int) -> int:
    """The due date; without one, release + 1.5 work, rounded down."""
    due = sim.due[job]
    return sim.release[job] + sim.total_work[job] * 3 // 2 if due is None else due


def _slack(sim: Simulator, job: int) -> int:
    return _due_date(sim, job) - sim.clock() - sim.work_left[job]


def apparent_tardiness_cost(sim: Simulator, job: int) -> float:
    """Vepsalainen & Morton (1987), b = 2, k = 3; largest first, so not one of `RULES`."""
    machine, _ = sim.jobs[job][sim.next_op[job]]
    here = [
        max(_duration(sim, other), 1)
        for other in sim.unfinished
        if sim.jobs[other][sim.next_op[other]][0] == machine
    ]
    duration, mean = _duration(sim, job), sum(here) / len(here)
    spare = _slack(sim, job) - 2 * (sim.work_left[job] - duration)
    return sim.weight[job] / max(duration, 1) * exp(-max(0, spare) / (3 * mean))


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
    "edd": _due_date,
    "slack": _slack,
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
    sim, priority = SIMULATORS[candidates](jobs, release, due), RULES[rule]
    while legal := [job for job in sim.legal(candidates) if job < len(jobs)]:  # rules never wait
        sim.apply(legal[0] if len(legal) == 1 else min(legal, key=lambda job: priority(sim, job)))
    return sim


def optimum(
    jobs: Jobs,
    release: Sequence[int] | None = None,
    candidates: str = "any",
    due: Sequence[int | None] | None = None,
    weight: Sequence[int] | None = None,
    objective: str = "makespan",
) -> int:
    """The smallest objective over all dispatch sequences, by exhaustive search; for small
    instances only.
    """
    best: int | float = inf
    seen: set[object] = set()
    stack = [SIMULATORS[candidates](jobs, release, due, weight)]
    while stack:
        sim = stack.pop()
        if sim.bound(objective) >= best:
            continue
        if sim.done:
            best = sim.bound(objective)
            continue
        key = (tuple(sim.next_op), tuple(sim.job_ready), tuple(sim.machine_ready), sim.memory())
        if key in seen:
            continue
        seen.add(key)
        for job in sim.legal(candidates):
            child = sim.copy()
            child.apply(job)
            stack.append(child)
    return int(best)


def random_rollout(jobs: Jobs, rng: Random, release: Sequence[int] | None = None) -> Rollout:
    """Play uniformly random unfinished jobs to the end, written for speed: how fast plain Python
    can be.
    """
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
