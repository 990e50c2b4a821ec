"""Blocking job shop in plain Python: the oracle of the tests.

Written from the problem statement alone: ints and lists, no NumPy, nothing of jaxsched. A job is a
list of `(machine, duration)` in route order; jobs may be ragged, revisit a machine and hold
operations of duration 0. A job holds its machine until it moves to the next one. Time goes from
event to event, whether or not something moves then.

Interruptions: `windows[machine]` are spans in which it is down; `fates[machine][ordinal] = (fails,
share, repair)` is drawn beforehand for the operations that the machine begins, in order: it fails
when duration * share // 2**32 ticks of work are done, for `repair` ticks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import inf
from random import Random
from typing import Any

Jobs = Sequence[Sequence[tuple[int, int]]]
Spans = Sequence[tuple[int, int]]
Fate = tuple[bool, int, int]


class Simulator:
    """A shop at a moment at which there is something to choose, or at its end.

    `waits`: the machine that is served may be declined, by the choice None.
    """

    def __init__(
        self,
        jobs: Jobs,
        release: Sequence[int] | None = None,
        *,
        swap: bool = True,
        waits: bool = False,
        windows: Sequence[Spans] | None = None,
        fates: Sequence[Sequence[Fate]] | None = None,
    ):
        self.jobs = [list(job) for job in jobs]
        self.release = list(release) if release is not None else [0] * len(self.jobs)
        self.num_machines = 1 + max(machine for job in self.jobs for machine, _ in job)
        self.swap, self.waits = swap, waits
        self.windows = (
            [sorted(spans) for spans in windows]
            if windows
            else [[] for _ in range(self.num_machines)]
        )
        self.fates = fates
        self.time = 0
        self.begun = [0] * len(self.jobs)  # operations that have begun
        self.holder: list[int | None] = [None] * self.num_machines
        self.end = list(self.release)  # of the operation begun last
        self.failures: list[list[tuple[int, int]]] = [[] for _ in range(self.num_machines)]
        self.ordinal = [0] * self.num_machines
        self.start: list[list[int]] = [[] for _ in self.jobs]
        self.declined: set[int] = set()
        self.waited = 0  # jobs that waited, times ticks
        self.num_decisions = 0
        self.deadlock: list[int] | None = None  # the jobs of a circle
        self._go_on()

    def copy(self) -> Simulator:
        other = type(self).__new__(type(self))
        other.__dict__.update(self.__dict__)
        for name in ("begun", "holder", "end", "ordinal"):
            setattr(other, name, list(getattr(self, name)))
        other.failures, other.start = (
            [row[:] for row in self.failures],
            [row[:] for row in self.start],
        )
        other.declined = set(self.declined)
        return other

    # ------------------------------------------------------------------------- what there is to see

    @property
    def done(self) -> bool:
        return self.deadlock is not None or all(
            b == len(job) for b, job in zip(self.begun, self.jobs, strict=True)
        )

    @property
    def makespan(self) -> int:
        return max(self.end)

    def wanted(self, job: int) -> int | None:
        """The machine of the next operation."""
        return self.jobs[job][self.begun[job]][0] if self.begun[job] < len(self.jobs[job]) else None

    def held(self, job: int) -> int | None:
        return self.holder.index(job) if job in self.holder else None

    def ready(self, job: int) -> bool:
        """Nothing but machines keeps it from its next operation."""
        return self.wanted(job) is not None and self.end[job] <= self.time

    def up(self, machine: int) -> bool:
        return not any(
            start <= self.time < end
            for start, end in [*self.windows[machine], *self.failures[machine]]
        )

    def served(self) -> tuple[int, list[int]] | None:
        """The machine that is served now and the jobs that compete for it."""
        for machine in range(self.num_machines):
            if self.holder[machine] is None and self.up(machine) and machine not in self.declined:
                rivals = [
                    j for j in range(len(self.jobs)) if self.ready(j) and self.wanted(j) == machine
                ]
                if rivals:
                    return machine, rivals
        return None

    def events(self) -> Iterator[int]:
        """Moments to come at which something ends: an operation, the wait for a release,
        maintenance under way.
        """
        for job in range(len(self.jobs)):
            if self.end[job] > self.time:
                yield self.end[job]
        for spans in self.windows:
            yield from (end for start, end in spans if start <= self.time < end)

    def choices(self) -> list[int | None]:
        """Jobs, then None where the machine may be declined; empty at the end."""
        found = None if self.done else self.served()
        if found is None:
            return []
        return [*found[1], *([None] if self.waits and any(True for _ in self.events()) else [])]

    # ---------------------------------------------------------------------------------------- moves

    def choose(self, choice: int | None) -> None:
        assert choice in self.choices()
        self.num_decisions += 1
        if choice is None:
            found = self.served()
            assert found is not None
            self.declined.add(found[0])
        else:
            self._begin([choice])
        self._go_on()

    def _begin(self, movers: list[int]) -> None:
        """All of them move at once."""
        for job in movers:
            place = self.held(job)
            if place is not None:
                self.holder[place] = None
        for job in movers:
            machine, duration = self.jobs[job][self.begun[job]]
            assert self.holder[machine] is None
            self.holder[machine] = job
            self.start[job].append(self.time)
            self.begun[job] += 1
            self.end[job] = self._finish(machine, duration)
            self.ordinal[machine] += 1
        for job in movers:
            if self.ready(job):
                self.declined.discard(self.wanted(job))  # type: ignore[arg-type]

    def _finish(self, machine: int, duration: int) -> int:
        """Tick by tick where there is something to stop for, the end of an operation that begins
        now.
        """
        fails, share, repair = (
            self.fates[machine][self.ordinal[machine]] if self.fates else (False, 0, 0)
        )
        fails = fails and duration > 0
        if not fails and not self.windows[machine]:
            return self.time + duration
        moment, worked, time = duration * share // 2**32, 0, self.time
        while worked < duration:
            if any(start <= time < end for start, end in self.windows[machine]):
                time += 1
            elif fails and worked == moment:
                self.failures[machine].append((time, time + repair))
                time, fails = time + repair, False
            else:
                time, worked = time + 1, worked + 1
        return time

    def _circle(self, within: Callable[[int], bool]) -> list[int] | None:
        """Jobs that satisfy `within` and of which each wants the machine of the next one, or
        None.
        """
        for first in range(len(self.jobs)):
            path = [first]
            while (
                within(path[-1])
                and self.held(path[-1]) is not None
                and self.wanted(path[-1]) is not None
            ):
                holder = self.holder[self.wanted(path[-1])]  # type: ignore[index]
                if holder is None:
                    break
                if holder == first:
                    return path
                if holder in path:
                    break
                path.append(holder)
        return None

    def _go_on(self) -> None:
        """Whatever needs no choice."""
        while True:
            for machine, job in enumerate(self.holder):
                if job is not None and self.wanted(job) is None and self.end[job] <= self.time:
                    self.holder[machine] = None
            if not self.swap:
                circle = self._circle(lambda job: self.wanted(job) != self.held(job))
                if circle is not None and len(circle) > 1:
                    self.deadlock = circle
            if self.done:
                return
            choices = self.choices()
            if len(choices) > 1:
                return
            if choices:
                self._begin([choices[0]])  # type: ignore[list-item]
                continue
            stay = [
                j for j in range(len(self.jobs)) if self.ready(j) and self.wanted(j) == self.held(j)
            ]
            circle = self._circle(lambda job: self.ready(job) and self.up(self.wanted(job)))  # type: ignore[arg-type]
            if stay:
                self._begin(stay)
                continue
            if circle is not None:
                self._begin(circle)
                continue
            following = min(self.events(), default=None)
            if following is None:
                self.deadlock = []
                return
            waiting = sum(self.ready(j) for j in range(len(self.jobs)))
            self.waited += waiting * (following - self.time)
            self.time, self.declined = following, set()


# -------------------------------------------------------------------------------------------- rules


def scores(sim: Simulator, rule: str, job: int) -> int:
    """The priority of a job; the highest is taken, ties to the lowest job."""
    left = sim.jobs[job][sim.begun[job] :]
    work = sum(duration for _, duration in left)
    total = sum(duration for _, duration in sim.jobs[job])
    queue = 0
    if len(left) > 1:
        for other in range(len(sim.jobs)):
            waits = (
                sim.ready(other)
                and sim.wanted(other) == left[1][0]
                and sim.held(other) != left[1][0]
            )
            queue += waits
    return {
        "spt": -left[0][1],
        "lpt": left[0][1],
        "mtwr": work,
        "ltwr": -work,
        "fifo": -sim.end[job],
        "lifo": sim.end[job],
        "mor": len(left),
        "lor": -len(left),
        "sqno": -queue,
        "lqno": queue,
        "stpt": -total,
        "ltpt": total,
    }[rule]


def dispatch(sim: Simulator, rule: str) -> Simulator:
    """Play to the end by a rule."""
    while not sim.done:
        jobs = [job for job in sim.choices() if job is not None]
        sim.choose(max(jobs, key=lambda job: (scores(sim, rule, job), -job)))
    return sim


def random_play(sim: Simulator, rng: Random) -> Simulator:
    while not sim.done:
        sim.choose(rng.choice(sim.choices()))
    return sim


# ------------------------------------------------------------------------------------------ optimum


def optimum(jobs: Jobs, release: Sequence[int] | None = None, *, swap: bool = True) -> int:
    """The smallest makespan over all orders of the operations on every machine, found by trying all
    of them.

    Nothing of the simulator above: starts are the longest paths of an order. Operations of duration
    0 are taken to last a moment too short to count, so that jobs swap only where nothing of them
    lies between.
    """
    jobs = [list(job) for job in jobs]
    operations = [(j, k) for j, job in enumerate(jobs) for k in range(len(job))]
    by_machine: dict[int, list[tuple[int, int]]] = {}
    for j, k in operations:
        by_machine.setdefault(jobs[j][k][0], []).append((j, k))
    most = 2 * len(operations) + 2
    tick = 2 * most  # a moment is 1
    route = []
    for j, job in enumerate(jobs):
        for k in range(1, len(job)):
            route.append(((j, k - 1), (j, k), max(tick * job[k - 1][1], 1)))
    first = {(j, 0): tick * (release[j] if release else 0) for j in range(len(jobs))}
    best: Any = inf

    def starts(edges: list[tuple[Any, Any, int]]) -> dict[tuple[int, int], int] | None:
        time = {op: first.get(op, 0) for op in operations}
        for _ in range(len(operations) + 1):
            changed = False
            for a, b, weight in edges:
                if time[b] < time[a] + weight:
                    time[b], changed = time[a] + weight, True
            if not changed:
                return time
        return None  # a circle that takes time

    def ends(time: dict[tuple[int, int], int]) -> int:
        return max(time[j, len(job) - 1] // tick + job[-1][1] for j, job in enumerate(jobs))

    def after(a: tuple[int, int], b: tuple[int, int]) -> tuple[Any, Any, int] | None:
        """b enters the machine of a when a has left it."""
        j, k = a
        if k + 1 == len(jobs[j]):
            return a, b, max(tick * jobs[j][k][1], 1)
        return None if (j, k + 1) == b else ((j, k + 1), b, 0 if swap else 1)

    def extend(orders: dict[int, list[tuple[int, int]]], edges: list[tuple[Any, Any, int]]) -> None:
        nonlocal best
        time = starts(edges)
        if time is None or ends(time) >= best:
            return
        open_ = [machine for machine, ops in by_machine.items() if len(orders[machine]) < len(ops)]
        if not open_:
            best = ends(time)
            return
        machine = open_[0]
        placed = orders[machine]
        for op in by_machine[machine]:
            if op in placed or any(
                o not in placed and o[0] == op[0] and o[1] < op[1] for o in by_machine[machine]
            ):
                continue
            edge = after(placed[-1], op) if placed else None
            extend(orders | {machine: [*placed, op]}, edges + ([edge] if edge else []))

    extend({machine: [] for machine in by_machine}, route)
    return int(best) if best < inf else -1
