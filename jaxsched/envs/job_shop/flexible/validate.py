"""The judge of finished schedules: plain Python on the host, written from the problem statement,
not from the rules.

Two operations on one machine are disjoint when one ends no later than the other starts. An
operation of duration 0 may therefore stand at the border of another, or on another of duration 0,
but not strictly inside one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxsched.envs.job_shop.flexible.types import Instance, Schedule

_TIME_LIMIT = 2**31  # times are int32 ticks


def validate(instance: Instance, schedule: Schedule) -> list[str]:
    """Everything wrong with `schedule`, one line each; an empty list means that it is valid.

    Checks that every operation has an integer start and an eligible machine, jobs follow their
    route, machines do one operation at a time, and the makespan is the latest end. Jobs, operations
    and machines count from 0. Instances may be padded; trailing padded jobs may have an empty row
    or none. Takes O(n log n) for n operations.
    """
    durations, eligible = np.asarray(instance.duration), np.asarray(instance.eligible_mask)
    if durations.ndim != 3:
        raise ValueError(
            f"validate judges one instance, got a batch of shape {durations.shape[:-3]}"
        )
    lengths = np.asarray(instance.op_mask).sum(1).tolist()
    faults = _malformed(lengths, schedule.start, "start", _TIME_LIMIT)
    faults += _malformed(lengths, schedule.machine, "machine", durations.shape[2])
    if faults:
        return faults

    by_machine: dict[int, list[tuple[int, int, int, int]]] = {}
    makespan = 0
    for job, length in enumerate(lengths):
        before = 0
        for op in range(length):
            start, machine = int(schedule.start[job][op]), int(schedule.machine[job][op])
            if not eligible[job, op, machine]:
                faults.append(f"job {job}, operation {op}: machine {machine} cannot do it")
                continue
            end = start + int(durations[job, op, machine])
            if start < before:
                faults.append(
                    f"job {job}: operation {op} starts at {start}, before operation {op - 1} ends at {before}"
                )
            by_machine.setdefault(machine, []).append((start, end, job, op))
            before, makespan = end, max(makespan, end)

    # In the order (start, end) the machine is free of overlaps exactly when each operation starts
    # no earlier than the latest end before it: ordering equal starts by their end puts those of
    # duration 0 first.
    for machine in sorted(by_machine):
        row = sorted(by_machine[machine])
        latest = row[0]
        for entry in row[1:]:
            if entry[0] < latest[1]:
                faults.append(
                    f"machine {machine}: operation {entry[3]} of job {entry[2]} starts at {entry[0]}, "
                    f"before operation {latest[3]} of job {latest[2]} ends at {latest[1]}"
                )
            if entry[1] >= latest[1]:
                latest = entry
    if not _is_integer(schedule.makespan) or (not faults and schedule.makespan != makespan):
        faults.append(
            f"the makespan is given as {schedule.makespan!r}, but the latest end is {makespan}"
        )
    return faults


def measure(instance: Instance, schedule: Schedule) -> int:
    """The makespan of a valid schedule, from its starts and machines alone."""
    duration = np.asarray(instance.duration)
    ends = (
        int(start) + int(duration[job, op, machine])
        for job, (starts, machines) in enumerate(zip(schedule.start, schedule.machine, strict=True))
        for op, (start, machine) in enumerate(zip(starts, machines, strict=True))
    )
    return max(ends, default=0)


def _malformed(
    lengths: list[int], rows: Sequence[Sequence[Any]], what: str, limit: int
) -> list[str]:
    """Missing, surplus or impossible entries; nothing else can be judged while there are any."""
    faults = []
    for job in range(max(len(lengths), len(rows))):
        row = rows[job] if job < len(rows) else ()
        expected = lengths[job] if job < len(lengths) else 0
        if len(row) != expected:
            faults.append(
                f"job {job} has {expected} operations, but the schedule gives {len(row)} {what}s"
            )
        for op, value in enumerate(row):
            if not _is_integer(value):
                faults.append(f"job {job}, operation {op}: {what} {value!r} is not an integer")
            elif not 0 <= value < limit:
                shown = "2**31" if limit == _TIME_LIMIT else limit
                faults.append(f"job {job}, operation {op}: {what} {value} is not in [0, {shown})")
    return faults


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
