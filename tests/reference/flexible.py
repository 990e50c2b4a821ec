"""Flexible job shop in plain Python: the oracle of the tests.

Written from the problem statement alone: ints, lists and exact fractions, no NumPy, nothing of
jaxsched. A job is a list of operations in route order, an operation a list of alternatives
`(machine, duration)`. A decision places the next operation of one job on one of its machines at
`max(job ready, machine ready)`, after all that the machine has.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from tests.reference import job_shop

Jobs = Sequence[Sequence[Sequence[tuple[int, int]]]]
Pair = tuple[int, int]  # job, machine


class Simulator:
    """A partial schedule."""

    def __init__(self, jobs: Jobs, num_machines: int):
        self.jobs = [[dict(operation) for operation in job] for job in jobs]
        self.num_machines = num_machines
        self.job_ready = [0] * len(self.jobs)
        self.machine_ready = [0] * num_machines
        self.start: list[list[int]] = [[] for _ in self.jobs]
        self.machine: list[list[int]] = [[] for _ in self.jobs]

    def copy(self) -> Simulator:
        """An independent partial schedule of the same jobs."""
        other = type(self).__new__(type(self))
        other.jobs, other.num_machines = self.jobs, self.num_machines
        other.job_ready, other.machine_ready = self.job_ready[:], self.machine_ready[:]
        other.start, other.machine = (
            [row[:] for row in self.start],
            [row[:] for row in self.machine],
        )
        return other

    def left(self, job: int) -> list[dict[int, int]]:
        """The operations of the job that are not placed."""
        return self.jobs[job][len(self.start[job]) :]

    @property
    def makespan(self) -> int:
        """The latest end of a placed operation, 0 before the first."""
        return max(self.machine_ready, default=0)

    def pairs(self) -> list[Pair]:
        """Every unfinished job with each of its next machines, in ascending order."""
        return [
            (job, m)
            for job in range(len(self.jobs))
            if self.left(job)
            for m in sorted(self.left(job)[0])
        ]

    def begin(self, pair: Pair) -> int:
        """When the pair would start."""
        return max(self.job_ready[pair[0]], self.machine_ready[pair[1]])

    def end(self, pair: Pair) -> int:
        """When the pair would end."""
        return self.begin(pair) + self.left(pair[0])[0][pair[1]]

    def clock(self) -> int:
        """The smallest start of a pair; the makespan when there are none."""
        return min(map(self.begin, self.pairs()), default=self.makespan)

    def legal(self, candidates: str = "any") -> list[Pair]:
        """`any`: every pair; `non_delay`: those that start at the clock."""
        if candidates == "any":
            return self.pairs()
        if candidates == "non_delay":
            return [pair for pair in self.pairs() if self.begin(pair) == self.clock()]
        raise ValueError(f"unknown candidates {candidates!r}")

    def apply(self, pair: Pair) -> None:
        """Place the next operation of the job on the machine."""
        job, machine = pair
        start, end = self.begin(pair), self.end(pair)
        self.start[job].append(start)
        self.machine[job].append(machine)
        self.job_ready[job] = self.machine_ready[machine] = end

    def work_left(self, job: int) -> int:
        """Work of the job's unplaced operations, each on its fastest machine."""
        return sum(min(operation.values()) for operation in self.left(job))

    def load_left(self, machine: int) -> int:
        """Work of the unplaced operations that only this machine can do."""
        operations = (operation for job in range(len(self.jobs)) for operation in self.left(job))
        return sum(operation[machine] for operation in operations if list(operation) == [machine])

    def bound(self) -> int:
        """No completion of this partial schedule ends before this; the makespan once done."""
        jobs = [ready + self.work_left(job) for job, ready in enumerate(self.job_ready)]
        machines = [
            ready + self.load_left(machine) for machine, ready in enumerate(self.machine_ready)
        ]
        total = sum(self.machine_ready) + sum(self.work_left(job) for job in range(len(self.jobs)))
        return max(*jobs, *machines, -(-total // self.num_machines))


def _then_first_end(
    rule: Callable[[Simulator, Pair], int],
) -> Callable[[Simulator, Pair], tuple[int, ...]]:
    """`rule` first; of the pairs of one job that are equal, the one that ends first."""

    def priority(sim: Simulator, pair: Pair) -> tuple[int, ...]:
        ahead = sorted((sim.end(other), other[1]) for other in sim.pairs() if other[0] == pair[0])
        return rule(sim, pair), ahead.index((sim.end(pair), pair[1]))

    return priority


# smallest first, ties to the lowest pair
RULES: dict[str, Callable[[Simulator, Pair], int | tuple[int, ...]]] = {
    "fifo": _then_first_end(lambda sim, pair: sim.job_ready[pair[0]]),
    "spt": lambda sim, pair: sim.left(pair[0])[0][pair[1]],
    "mor": _then_first_end(lambda sim, pair: -len(sim.left(pair[0]))),
    "mwkr": _then_first_end(lambda sim, pair: -sim.work_left(pair[0])),
    "est": _then_first_end(lambda sim, pair: sim.begin(pair)),
    "eft": lambda sim, pair: sim.end(pair),
}


def dispatch(jobs: Jobs, num_machines: int, rule: str, candidates: str = "non_delay") -> Simulator:
    """The finished schedule of a priority rule."""
    sim = Simulator(jobs, num_machines)
    while legal := sim.legal(candidates):
        sim.apply(min(legal, key=lambda pair: (RULES[rule](sim, pair), pair)))
    return sim


def optimum(jobs: Jobs, num_machines: int, candidates: str = "any") -> int:
    """The smallest makespan over all sequences of pairs, by exhaustive search; for small
    instances only.
    """
    best = None
    seen: set[object] = set()
    stack = [Simulator(jobs, num_machines)]
    while stack:
        sim = stack.pop()
        if best is not None and sim.bound() >= best:
            continue
        legal = sim.legal(candidates)
        if not legal:
            best = sim.makespan
            continue
        key = (tuple(map(len, sim.start)), tuple(sim.job_ready), tuple(sim.machine_ready))
        if key in seen:
            continue
        seen.add(key)
        for pair in legal:
            child = sim.copy()
            child.apply(pair)
            stack.append(child)
    assert best is not None
    return best


def assignments(jobs: Jobs) -> Iterator[list[list[tuple[int, int]]]]:
    """Every job shop that is left when each operation has its machine."""
    operations = [operation for job in jobs for operation in job]
    for chosen in itertools.product(*operations):
        rest = iter(chosen)
        yield [[next(rest) for _ in job] for job in jobs]


def optimum_by_assignment(jobs: Jobs) -> int:
    """The same optimum by another way: the best job shop over all assignments of machines."""
    return min(job_shop.optimum(fixed) for fixed in assignments(jobs))
