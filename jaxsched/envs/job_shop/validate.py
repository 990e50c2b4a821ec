"""The judge of finished schedules: NumPy on the host, written from the problem statement, not from
the rules.

Two operations on one machine are disjoint when one ends no later than the other starts. An
operation of duration 0 may therefore stand at the border of another, or on another of duration 0,
but not strictly inside one.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxsched.envs.job_shop.types import Instance, Schedule
from jaxsched.host.errors import UnknownNameError

_TIME_LIMIT = 2**31  # times are int32 ticks


def validate(instance: Instance, schedule: Schedule) -> list[str]:
    """Everything wrong with `schedule`, one line each; an empty list means that it is valid.

    Checks that every operation has an integer start, jobs wait for their release and follow their
    route, machines do one operation at a time, and the makespan is the latest end. Jobs and
    operations count from 0. Instances may be padded; trailing padded jobs may have an empty row or
    none. Takes O(n log n) for n operations.
    """
    machine, duration = (
        np.asarray(instance.machine, np.int64),
        np.asarray(instance.duration, np.int64),
    )
    if machine.ndim != 2:
        raise ValueError(f"validate judges one instance, got a batch of shape {machine.shape[:-2]}")
    op_mask, release = np.asarray(instance.op_mask), np.asarray(instance.release, np.int64)
    faults = malformed(op_mask.sum(1), schedule.start)
    if faults:
        return faults

    job, op = np.nonzero(op_mask)  # row-major, as the starts below
    machine, duration = machine[job, op], duration[job, op]
    start = np.array([operator.index(value) for row in schedule.start for value in row], np.int64)
    end = start + duration

    for i in np.flatnonzero((op == 0) & (start < release[job])):
        faults.append(f"job {job[i]} starts at {start[i]}, before its release at {release[job[i]]}")
    for i in np.flatnonzero((op[1:] > 0) & (start[1:] < end[:-1])):
        faults.append(
            f"job {job[i]}: operation {op[i + 1]} starts at {start[i + 1]}, before operation {op[i]} ends at {end[i]}"
        )

    # In the order (machine, start, end) the machine is free of overlaps exactly when each operation
    # starts no earlier than the latest end before it: ordering equal starts by their end puts those
    # of duration 0 first.
    latest = -1  # index of the operation with the latest end so far on this machine
    for i in np.lexsort((end, start, machine)):
        if latest < 0 or machine[latest] != machine[i]:
            latest = i
            continue
        if start[i] < end[latest]:
            faults.append(
                f"machine {machine[i]}: operation {op[i]} of job {job[i]} starts at {start[i]}, "
                f"before operation {op[latest]} of job {job[latest]} ends at {end[latest]}"
            )
        if end[i] >= end[latest]:
            latest = i

    makespan = int(end.max(initial=0))
    if not is_integer(schedule.makespan) or schedule.makespan != makespan:
        faults.append(
            f"the makespan is given as {schedule.makespan!r}, but the latest end is {makespan}"
        )
    return faults


def measure(instance: Instance, schedule: Schedule, objective: str = "makespan") -> int:
    """The objective of a valid schedule, from its starts alone: `makespan`, `flow_time` or
    `weighted_tardiness`.

    Flow time sums completion - release over the jobs, weighted tardiness weight * max(0, completion
    - due date) over the jobs with a due date. Raises `UnknownNameError`.
    """
    known = ("makespan", "flow_time", "weighted_tardiness")
    if objective not in known:
        raise UnknownNameError("objective", objective, known)
    instance = jax.tree.map(np.asarray, instance)
    total = 0
    for job, row in enumerate(schedule.start):
        if not len(row):
            continue
        end = int(row[-1]) + int(instance.duration[job, len(row) - 1])
        if objective == "makespan":
            total = max(total, end)
        elif objective == "flow_time":
            total += end - int(instance.release[job])
        elif bool(instance.due_mask[job]):
            total += int(instance.weight[job]) * max(0, end - int(instance.due[job]))
    return total


def malformed(num_ops: np.ndarray, start: Sequence[Sequence[Any]]) -> list[str]:
    """Missing, surplus or non-integer starts; nothing else can be judged while there are any."""
    faults = []
    for job in range(max(len(num_ops), len(start))):
        row = start[job] if job < len(start) else ()
        expected = int(num_ops[job]) if job < len(num_ops) else 0
        if len(row) != expected:
            faults.append(
                f"job {job} has {expected} operations, but the schedule gives {len(row)} starts"
            )
        for op, value in enumerate(row):
            if not is_integer(value):
                faults.append(f"job {job}, operation {op}: start {value!r} is not an integer")
            elif not 0 <= value < _TIME_LIMIT:
                faults.append(f"job {job}, operation {op}: start {value} is not in [0, 2**31)")
    return faults


def is_integer(value: Any) -> bool:
    """An integer of Python or NumPy, no boolean."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
