"""The judge of finished schedules: plain Python on the host, written from the problem statement, not from the rules.

It runs through the moments at which operations begin and asks of each whether the shop can make these moves then: into
machines that are free and up, one after the other, or several at once around a circle where swaps are allowed. With
operations of duration 0 the order of moves within a moment matters: then all orders are tried.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable

import jax
import numpy as np

from jaxsched.envs.job_shop.blocking.draws import table
from jaxsched.envs.job_shop.blocking.types import Instance, Schedule
from jaxsched.envs.job_shop.lists import to_jobs
from jaxsched.envs.job_shop.validate import is_integer, malformed

Op = tuple[int, int]  # job, operation
Spans = list[tuple[int, int]]


def validate(instance: Instance, schedule: Schedule, *, swap: bool = True) -> list[str]:
    """Everything wrong with `schedule`, one line each; an empty list means that it is valid.

    Checks that every operation has an integer start, jobs wait for their release and follow their route, a job moves
    only to a machine that is free and up, its own stays taken until then, jobs exchange machines only where `swap`
    allows, `down` is what the instance's windows and key say, and the makespan is the latest end. Padded jobs may have
    an empty row or none.
    """
    instance = jax.device_get(instance)
    num_ops = np.asarray(instance.op_mask).sum(1)
    faults = malformed(num_ops, schedule.start)
    if faults:
        return faults
    jobs = [job for job in to_jobs(instance) if job]
    start = [[int(time) for time in row] for row in schedule.start if len(row)]
    release = [int(time) for time, count in zip(instance.release, num_ops, strict=True) if count]
    down, faults = _downtimes(instance, jobs, start, schedule.down)
    if faults:
        return faults
    end = [
        [down[machine].after(time, duration) for (machine, duration), time in zip(job, row, strict=True)]
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
    faults = faults or _moves(jobs, start, end, down, swap)
    makespan = max(itertools.chain(*end), default=0)
    if not is_integer(schedule.makespan) or schedule.makespan != makespan:
        faults.append(f"the makespan is given as {schedule.makespan!r}, but the latest end is {makespan}")
    return faults


def measure(instance: Instance, schedule: Schedule) -> int:
    """The makespan of a valid schedule, from its starts and downtimes alone."""
    latest = 0
    for job, row in zip([job for job in to_jobs(instance) if job], filter(len, schedule.start), strict=True):
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


def _downtimes(
    instance: Instance, jobs: list[list[Op]], start: list[list[int]], claimed: list[Spans]
) -> tuple[list[_Calendar], list[str]]:
    """What `claimed` should be, as calendars, and what is wrong with it."""
    num_machines = int(np.asarray(instance.machine_mask).sum())
    maintenance: list[Spans] = [[] for _ in range(num_machines)]
    if instance.windows is not None:
        for machine in range(num_machines):
            pairs = zip(instance.windows.start[machine].tolist(), instance.windows.end[machine].tolist(), strict=True)
            maintenance[machine] = [pair for pair in pairs if pair[0] < pair[1]]
    begun: list[list[tuple[int, int]]] = [[] for _ in range(num_machines)]
    for job, row in zip(jobs, start, strict=True):
        for (machine, duration), time in zip(job, row, strict=True):
            begun[machine].append((time, duration))
    fates = None
    if instance.failures is not None:
        most = 1 << max(max(map(len, begun)) - 1, 0).bit_length()
        drawn = table(instance.failures, np.arange(num_machines, dtype=np.int32), np.arange(most, dtype=np.int32))
        fates = [np.asarray(leaf) for leaf in drawn]
    faults, calendars = [], []
    if len(claimed) != num_machines:
        return [], [f"down has {len(claimed)} entries for {num_machines} machines"]
    for machine, operations in enumerate(begun):
        calendar, failures = _Calendar(maintenance[machine]), []
        if fates is not None:
            for ordinal, (time, duration) in enumerate(sorted(operations)):
                fails, share, repair = (leaf[machine, ordinal] for leaf in fates)
                if fails and duration:
                    breaks = calendar.tick(time, duration * int(share) // 2**32)
                    failures.append((breaks, breaks + int(repair)))
        spans = _union(maintenance[machine] + failures)
        given = [(int(a), int(b)) for a, b in claimed[machine]]
        if given != spans:
            pairs = itertools.zip_longest(given, spans, fillvalue="nothing more")
            what, should = next(pair for pair in pairs if pair[0] != pair[1])
            faults.append(f"machine {machine}: down is given as {what}, but the instance says {should}")
        calendars.append(_Calendar(spans))
    return calendars, faults


def _union(spans: Spans) -> Spans:
    """Disjoint and rising: its ends are where the number of open spans leaves 0 and comes back to it."""
    edges = sorted([(start, 0) for start, _ in spans] + [(end, 1) for _, end in spans])
    ends, open_ = [], 0
    for time, closes in edges:
        if open_ == closes:
            ends.append(time)
        open_ += -1 if closes else 1
    return list(zip(ends[::2], ends[1::2], strict=True))


def _moves(
    jobs: list[list[Op]], start: list[list[int]], end: list[list[int]], down: list[_Calendar], swap: bool
) -> list[str]:
    """What the shop cannot do, of the first moment at which there is such a thing."""
    at: dict[int, int] = {}  # machine -> job that holds it
    position: dict[int, int] = {}  # job -> machine it holds
    begins: dict[int, list[Op]] = {}
    for j, row in enumerate(start):
        for k, time in enumerate(row):
            begins.setdefault(time, []).append((j, k))

    for time in sorted(begins):
        pending = begins[time]

        def machine_of(op: Op) -> int:
            return jobs[op[0]][op[1]][0]

        def leave(at: dict[int, int], latest: dict[int, int], time: int = time) -> dict[int, int]:
            """Without the jobs whose last operation is over."""
            return {
                m: j
                for m, j in at.items()
                if latest[j] + 1 < len(jobs[j]) or end[j][latest[j]] > time
            }

        latest = {j: next(k for k in reversed(range(len(row))) if row[k] < time) for j, row in enumerate(start) if row[0] < time}
        at = leave(at, latest)
        position = {j: m for m, j in at.items()}
        for op in pending:
            if not down[machine_of(op)].up(time) and position.get(op[0]) != machine_of(op):
                first = next((k for j, k in pending if j == op[0]), op[1])
                if not (op[1] > first and jobs[op[0]][op[1] - 1][0] == machine_of(op)):
                    return [f"job {op[0]} moves to machine {machine_of(op)} at {time}, which is down"]

        def after(at: dict[int, int], latest: dict[int, int], moves: list[Op]) -> tuple[dict[int, int], dict[int, int]]:
            gone = {op[0] for op in moves}
            new = {m: j for m, j in at.items() if j not in gone}
            new.update({machine_of(op): op[0] for op in moves})
            now = latest | dict(moves)
            return leave(new, now), now

        stack, seen = [(at, latest, frozenset(pending))], {frozenset(pending)}
        stuck: tuple[dict[int, int], frozenset[Op]] | None = None
        found = None
        while stack:
            at_now, latest_now, rest = stack.pop()
            if not rest:
                found = at_now
                break
            options: list[list[Op]] = []
            ready = sorted(op for op in rest if latest_now.get(op[0], -1) == op[1] - 1)
            for op in ready:
                if at_now.get(machine_of(op), op[0]) == op[0]:
                    options.append([op])
            waits = {op[0]: op for op in ready if op[0] in at_now.values()}
            if swap:
                options += _circles(waits, at_now, machine_of)
            # Without operations of duration 0 every job moves once at a moment, and any order of its moves will do.
            if options and all(jobs[j][k][1] > 0 for j, k in rest):
                options = options[:1]
            if not options and (stuck is None or len(rest) < len(stuck[1])):
                stuck = at_now, rest
            for moves in options:
                left = rest - set(moves)
                if left not in seen:
                    seen.add(left)
                    stack.append((*after(at_now, latest_now, moves), left))
        if found is None:
            assert stuck is not None
            at_now, rest = stuck
            j, k = min(rest)
            holder = at_now.get(machine_of((j, k)))
            why = f"which job {holder} holds" if holder is not None and holder != j else "which it cannot reach"
            return [f"job {j}, operation {k} starts at {time} on machine {machine_of((j, k))}, {why}"]
        at = found
    return []


def _circles(waits: dict[int, Op], at: dict[int, int], machine_of) -> list[list[Op]]:
    """Groups of jobs of which each wants the machine of the next."""
    circles, seen = [], set()
    for first in waits:
        path = [first]
        while path[-1] in waits and (holder := at.get(machine_of(waits[path[-1]]))) is not None and holder not in path:
            path.append(holder)
        holder = at.get(machine_of(waits[path[-1]])) if path[-1] in waits else None
        if holder == first and len(path) > 1 and frozenset(path) not in seen:
            seen.add(frozenset(path))
            circles.append([waits[j] for j in path])
    return circles
