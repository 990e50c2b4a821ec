"""The judge of finished schedules: plain Python on the host, written from the problem statement,
not from the rules.

It runs through the moments at which operations begin and asks of each whether the shop can make
these moves then: into machines that are free and up, one after the other, or several at once around
a circle where swaps are allowed. With operations of duration 0 the order of moves within a moment
matters: then all orders are tried.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable

import jax
import numpy as np

from jaxsched.envs.job_shop.blocking.failures import failure_table
from jaxsched.envs.job_shop.blocking.types import Instance, Schedule
from jaxsched.envs.job_shop.lists import to_jobs
from jaxsched.envs.job_shop.validate import is_integer, malformed

Op = tuple[int, int]  # job, operation
Spans = list[tuple[int, int]]


def validate(instance: Instance, schedule: Schedule, *, swap: bool = True) -> list[str]:
    """Everything wrong with `schedule`, one line each; an empty list means that it is valid.

    Checks that every operation has an integer start, jobs wait for their release and follow their
    route, a job moves only to a machine that is free and up, its own stays taken until then, jobs
    exchange machines only where `swap` allows, `down` is what the instance's windows and key say,
    and the makespan is the latest end. Padded jobs may have an empty row or none.
    """
    instance = jax.device_get(instance)
    num_ops = np.asarray(instance.op_mask).sum(1)
    faults = malformed(num_ops, schedule.start)
    if faults:
        return faults
    jobs = [job for job in to_jobs(instance) if job]
    start = [[int(time) for time in row] for row in schedule.start if len(row)]
    release = [int(time) for time, count in zip(instance.release, num_ops, strict=True) if count]
    maintenance = _maintenance(instance)
    down, faults = _downtimes(instance, maintenance, jobs, start, schedule.down)
    if faults:
        return faults
    end = [
        [
            down[machine].after(time, duration)
            for (machine, duration), time in zip(job, row, strict=True)
        ]
        for job, row in zip(jobs, start, strict=True)
    ]
    for j, row in enumerate(start):
        if row[0] < release[j]:
            faults.append(f"job {j} starts at {row[0]}, before its release at {release[j]}")
        for k in range(1, len(row)):
            if row[k] < end[j][k - 1]:
                faults.append(
                    f"job {j}: operation {k} starts at {row[k]}, before operation {k - 1} ends at {end[j][k - 1]}"
                )
    faults = faults or _moves(jobs, start, end, [_Calendar(spans) for spans in maintenance], swap)
    makespan = max(itertools.chain(*end), default=0)
    if not is_integer(schedule.makespan) or schedule.makespan != makespan:
        faults.append(
            f"the makespan is given as {schedule.makespan!r}, but the latest end is {makespan}"
        )
    return faults


def measure(instance: Instance, schedule: Schedule) -> int:
    """The makespan of a valid schedule, from its starts and downtimes alone."""
    latest = 0
    for job, row in zip(
        [job for job in to_jobs(instance) if job], filter(len, schedule.start), strict=True
    ):
        machine, duration = job[-1]
        spans = schedule.down[machine] if machine < len(schedule.down) else []
        latest = max(latest, _Calendar(spans).after(int(row[-1]), duration))
    return latest


class _Calendar:
    """When a machine works, by the spans in which it is down."""

    def __init__(self, spans: Iterable[tuple[int, int]]):
        self.spans = [(int(start), int(end)) for start, end in spans]
        # Working time done when each span begins, counted from 0; not falling.
        self.worked, total = [], 0
        for start, end in self.spans:
            self.worked.append(start - total)
            total += end - start
        self.lost = [0, *itertools.accumulate(end - start for start, end in self.spans)]

    def up(self, time: int) -> bool:
        return not any(start <= time < end for start, end in self.spans)

    def done(self, time: int) -> int:
        """Working time until `time`, from 0."""
        return time - sum(min(end, time) - start for start, end in self.spans if start < time)

    def after(self, time: int, ticks: int) -> int:
        """When `ticks` of work that begin at `time` are done."""
        if ticks == 0:
            return time
        goal = self.done(time) + ticks
        return goal + self.lost[bisect.bisect_left(self.worked, goal)]

    def tick(self, time: int, ticks: int) -> int:
        """When the tick behind so many begins."""
        goal = self.done(time) + ticks
        return goal + self.lost[bisect.bisect_right(self.worked, goal)]


def _maintenance(instance: Instance) -> list[Spans]:
    """The windows of each machine."""
    spans: list[Spans] = [[] for _ in range(int(np.asarray(instance.machine_mask).sum()))]
    windows = instance.windows
    if windows is None:
        return spans
    for machine in range(len(spans)):
        pairs = zip(windows.start[machine].tolist(), windows.end[machine].tolist(), strict=True)
        spans[machine] = [pair for pair in pairs if pair[0] < pair[1]]
    return spans


def _downtimes(
    instance: Instance,
    maintenance: list[Spans],
    jobs: list[list[Op]],
    start: list[list[int]],
    claimed: list[Spans],
) -> tuple[list[_Calendar], list[str]]:
    """What `claimed` should be, as calendars, and what is wrong with it."""
    num_machines = len(maintenance)
    begun: list[list[tuple[int, int]]] = [[] for _ in range(num_machines)]
    for job, row in zip(jobs, start, strict=True):
        for (machine, duration), time in zip(job, row, strict=True):
            begun[machine].append((time, duration))
    draws = None
    if instance.failures is not None:
        most = 1 << max(max(map(len, begun)) - 1, 0).bit_length()
        ids = np.arange(num_machines, dtype=np.int32), np.arange(most, dtype=np.int32)
        drawn = failure_table(instance.failures, *ids)
        draws = [np.asarray(leaf) for leaf in drawn]
    faults, calendars = [], []
    if len(claimed) != num_machines:
        return [], [f"down has {len(claimed)} entries for {num_machines} machines"]
    for machine, operations in enumerate(begun):
        calendar, failures = _Calendar(maintenance[machine]), []
        if draws is not None:
            for ordinal, (time, duration) in enumerate(sorted(operations)):
                fails, share, repair = (leaf[machine, ordinal] for leaf in draws)
                if fails and duration:
                    breaks = calendar.tick(time, duration * int(share) // 2**32)
                    failures.append((breaks, breaks + int(repair)))
        spans = _union(maintenance[machine] + failures)
        given = [(int(a), int(b)) for a, b in claimed[machine]]
        if given != spans:
            pairs = itertools.zip_longest(given, spans, fillvalue="nothing more")
            what, should = next(pair for pair in pairs if pair[0] != pair[1])
            faults.append(
                f"machine {machine}: down is given as {what}, but the instance says {should}"
            )
        calendars.append(_Calendar(spans))
    return calendars, faults


def _union(spans: Spans) -> Spans:
    """Disjoint and rising: its ends are where the number of open spans leaves 0 and comes back
    to it.
    """
    edges = sorted([(start, 0) for start, _ in spans] + [(end, 1) for _, end in spans])
    ends, open_ = [], 0
    for time, closes in edges:
        if open_ == closes:
            ends.append(time)
        open_ += -1 if closes else 1
    return list(zip(ends[::2], ends[1::2], strict=True))


def _moves(
    jobs: list[list[Op]],
    start: list[list[int]],
    end: list[list[int]],
    maintenance: list[_Calendar],
    swap: bool,
) -> list[str]:
    """What the shop cannot do, of the first moment at which there is such a thing."""
    begins: dict[int, list[Op]] = {}
    for j, row in enumerate(start):
        for k, time in enumerate(row):
            begins.setdefault(time, []).append((j, k))
    at: dict[int, int] = {}  # machine -> job that holds it
    latest: dict[int, int] = {}  # job -> its operation begun last
    for time in sorted(begins):
        for j, k in begins[time]:  # a job that stays on a machine is not taken by it
            machine = jobs[j][k][0]
            if not maintenance[machine].up(time) and (k == 0 or jobs[j][k - 1][0] != machine):
                return [f"job {j} moves to machine {machine} at {time}, which is down"]
        rest: frozenset[Op] = frozenset(begins[time])
        at = {machine: j for machine, j in at.items() if not _left(jobs, end, j, latest[j], time)}
        latest = {j: latest[j] for j in at.values()}  # who has left does not come back
        stack, seen, stuck = [(at, latest, rest)], {rest}, (at, rest)
        while stack:
            at, latest, rest = stack.pop()
            if not rest:
                break
            if len(rest) <= len(stuck[1]):
                stuck = at, rest
            for moves in _options(jobs, at, latest, rest, swap):
                after = rest - set(moves)
                if after not in seen:
                    seen.add(after)
                    gone, now = dict(moves), latest | dict(moves)
                    placed = {machine: j for machine, j in at.items() if j not in gone}
                    placed |= {
                        jobs[j][k][0]: j for j, k in moves if not _left(jobs, end, j, k, time)
                    }
                    stack.append((placed, now, after))
        if rest:
            at, rest = stuck
            j, k = min(rest)
            machine = jobs[j][k][0]
            why = (
                f"which job {at[machine]} holds"
                if at.get(machine, j) != j
                else "which it cannot reach"
            )
            return [f"job {j}, operation {k} starts at {time} on machine {machine}, {why}"]
    return []


def _left(jobs: list[list[Op]], end: list[list[int]], job: int, op: int, time: int) -> bool:
    """The job has left the shop after its last operation."""
    return op + 1 == len(jobs[job]) and end[job][op] <= time


def _options(
    jobs: list[list[Op]],
    at: dict[int, int],
    latest: dict[int, int],
    rest: frozenset[Op],
    swap: bool,
) -> list[list[Op]]:
    """Operations of `rest` that can begin now, one at a time or several around a circle."""
    ready = {j: k for j, k in rest if latest.get(j, -1) == k - 1}
    options = [[(j, k)] for j, k in ready.items() if at.get(jobs[j][k][0], j) == j]
    holders = set(at.values())
    for first in ready if swap else ():
        path = [first]
        while path[-1] in ready and path[-1] in holders:
            holder = at.get(jobs[path[-1]][ready[path[-1]]][0])
            if holder == first and len(path) > 1:
                options.append([(j, ready[j]) for j in path])
            if holder is None or holder in path:
                break
            path.append(holder)
    # Without operations of duration 0 every job moves once at a moment, and any order of the moves
    # will do.
    return options[:1] if all(jobs[j][k][1] > 0 for j, k in rest) else options
