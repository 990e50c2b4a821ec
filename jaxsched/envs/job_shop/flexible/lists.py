"""Flexible job shops from lists and back, and the checks that every instance passes, whatever it
was read from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from jaxsched.envs.job_shop.flexible.types import Instance, Schedule
from jaxsched.envs.job_shop.lists import MAX_CELLS, MAX_MACHINES, check_machines
from jaxsched.envs.job_shop.lists import from_jobs as from_fixed_jobs
from jaxsched.envs.job_shop.types import Instance as FixedInstance
from jaxsched.host.checks import INT32_MAX, Fault, Part, array, integer

Operation = list[tuple[int, int]]  # alternatives: (machine, duration)
Jobs = list[list[Operation]]


@dataclasses.dataclass(frozen=True)
class Lists:
    """A checked instance as plain lists: `jobs[j][k]` holds the alternatives `(machine,
    duration)` of operation k.
    """

    jobs: Jobs
    num_machines: int


def from_jobs(
    jobs: Iterable[Iterable[Iterable[Iterable[int]]]],
    *,
    num_machines: int | None = None,
) -> Instance:
    """An instance from `jobs[j][k] = [(machine, duration), ...]`, the alternatives of operation k
    of job j.

    Jobs, operations and machines count from 0, durations are integers >= 0 in ticks. `num_machines`
    defaults to the largest machine + 1. Returns arrays padded to the longest job: int32 and bool
    `[J, K, M]`, bool `[J, K]`, `[M]`. Raises `InstanceError` naming the job and operation at fault;
    also where the number of machines times the sum of the longest durations exceeds int32, so that
    no schedule, bound or score of a rule can overflow.
    """
    return to_instance(check(jobs, num_machines=num_machines))


def to_jobs(instance: Instance) -> Jobs:
    """The real operations as `jobs[j][k] = [(machine, duration), ...]`, Python integers in
    ascending order of machines; the row of a padded job is empty.
    """
    if instance.duration.ndim != 3:
        raise ValueError(f"need one instance, got a batch of shape {instance.duration.shape[:-3]}")
    duration, eligible = np.asarray(instance.duration), np.asarray(instance.eligible_mask)
    length = np.asarray(instance.op_mask).sum(1).tolist()
    return [
        [
            [(int(m), int(duration[j, k, m])) for m in np.flatnonzero(eligible[j, k])]
            for k in range(length[j])
        ]
        for j in range(len(length))
    ]


def fixed(instance: Instance, schedule: Schedule) -> FixedInstance:
    """The job shop that is left when every operation stays on the machine `schedule` gives it,
    without its padding.

    Raises `ValueError` where the schedule does not fit the instance.
    """
    jobs: list[list[tuple[int, int]]] = []
    for j, operations in enumerate(to_jobs(instance)):
        if not operations:
            continue
        row = schedule.machine[j] if j < len(schedule.machine) else []
        if len(row) != len(operations):
            raise ValueError(
                f"job {j} has {len(operations)} operations, but the schedule gives {len(row)} machines"
            )
        for k, (machine, alternatives) in enumerate(zip(row, operations, strict=True)):
            if machine not in dict(alternatives):
                raise ValueError(f"job {j}, operation {k}: machine {machine} cannot do it")
        jobs.append(
            [
                (int(m), dict(alternatives)[m])
                for m, alternatives in zip(row, operations, strict=True)
            ]
        )
    return from_fixed_jobs(jobs, num_machines=int(np.asarray(instance.machine_mask).sum()))


def check(
    jobs: Iterable[Iterable[Iterable[Iterable[int]]]], *, num_machines: int | None = None
) -> Lists:
    """The arguments of `from_jobs` as plain lists; raises `Fault` for what it refuses."""
    if num_machines is not None:
        num_machines = check_machines(num_machines)
    limit = MAX_MACHINES if num_machines is None else num_machines
    rows: Jobs = []
    for j, job in enumerate(array(jobs, "jobs")):
        row = []
        for k, alternatives in enumerate(array(job, ("job", j))):
            at = ("job", j), ("operation", k)
            row.append(_operation(array(alternatives, *at), *at, limit, num_machines is not None))
        if not row:
            raise Fault("no operations", ("job", j))
        rows.append(row)
    if not rows:
        raise Fault("there are no jobs")
    if num_machines is None:
        num_machines = 1 + max(
            machine for row in rows for operation in row for machine, _ in operation
        )
    longest = max(map(len, rows))
    if len(rows) * longest * num_machines > MAX_CELLS:
        raise Fault(
            f"{len(rows)} jobs of up to {longest} operations on {num_machines} machines: more than {MAX_CELLS} in all"
        )
    total = 0
    for j, row in enumerate(rows):
        for k, operation in enumerate(row):
            a, (_, duration) = max(enumerate(operation), key=lambda entry: entry[1][1])
            total += duration
            if reason := too_long(total, num_machines):
                raise Fault(reason, ("job", j), ("operation", k), ("", a), field="duration")
    return Lists(rows, num_machines)


def too_long(total: int, num_machines: int) -> str | None:
    """Why work of `total` ticks in a row on that many machines cannot be scheduled in int32;
    None where it can.
    """
    if num_machines * (total + 1) <= INT32_MAX:
        return None
    return f"{num_machines} machines times the longest durations so far exceed int32: use a coarser unit of time"


def to_instance(lists: Lists) -> Instance:
    """The padded arrays."""
    shape = len(lists.jobs), max(map(len, lists.jobs)), lists.num_machines
    duration, eligible = np.zeros(shape, np.int32), np.zeros(shape, bool)
    for j, row in enumerate(lists.jobs):
        for k, operation in enumerate(row):
            for machine, ticks in operation:
                duration[j, k, machine], eligible[j, k, machine] = ticks, True
    fields: dict[str, Any] = {
        "duration": duration,
        "eligible_mask": eligible,
        "op_mask": eligible.any(-1),
        "machine_mask": np.ones(lists.num_machines, bool),
    }
    return Instance(**jax.device_put(fields))


def _operation(alternatives: Any, job: Part, op: Part, limit: int, given: bool) -> Operation:
    """The alternatives of the operation at `job`, `op`; `given`: the number of machines is."""
    operation: Operation = []
    seen: set[int] = set()
    for a, pair in enumerate(alternatives):
        at = ("", a)  # no *path here: a million calls
        numbers = array(pair, job, op, at)
        if len(numbers) != 2:
            raise Fault(f"expected (machine, duration), got {len(numbers)} values", job, op, at)
        machine = integer(numbers[0], job, op, at, field="machine")
        duration = integer(numbers[1], job, op, at, field="duration")
        if machine >= limit:
            most = limit if given else f"at most {limit}"
            reason = f"machine {machine} is out of range, there are {most}, counted from 0"
            raise Fault(reason, job, op, at, field="machine")
        if machine in seen:
            raise Fault(f"machine {machine} is given twice", job, op, at, field="machine")
        seen.add(machine)
        operation.append((machine, duration))
    if not operation:
        raise Fault("no machine can do it", job, op)
    return operation
