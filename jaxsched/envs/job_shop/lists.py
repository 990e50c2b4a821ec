"""Job shops from lists and back, and the checks that every instance passes, whatever it was read
from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from jaxsched.envs.job_shop.settings import OBJECTIVES
from jaxsched.envs.job_shop.types import Instance, Shop
from jaxsched.host.checks import INT32_MAX, Fault, array, integer
from jaxsched.host.errors import InstanceError, UnknownNameError

MAX_CELLS = 2**22  # jobs times the longest job: the size of the padded arrays
MAX_MACHINES = 2**16
ITEMS = ("machine", "duration")  # of an operation, in order

Jobs = list[list[tuple[int, int]]]


@dataclasses.dataclass(frozen=True)
class Lists:
    """A checked instance as plain lists: `jobs[j][k] = (machine, duration)` and one entry per
    job in the others.
    """

    jobs: Jobs
    release: list[int]
    due: list[int | None]
    weight: list[int]
    num_machines: int


def place(fault: Fault) -> list[int]:
    """Where in the jobs a fault of `check` is: job, operation and item, as far as it has them.

    The item is 0 for the machine of an operation and 1 for its duration. In a flexible job shop the
    alternative comes before it.
    """
    numbers = [part[1] for part in fault.path if isinstance(part, tuple)]
    return numbers + [i for i, item in enumerate(ITEMS) if item == fault.field]


def from_jobs(
    jobs: Iterable[Iterable[Iterable[int]]],
    *,
    release: Iterable[int] | None = None,
    due: Iterable[int | None] | None = None,
    weight: Iterable[int] | None = None,
    num_machines: int | None = None,
) -> Instance:
    """An instance from `jobs[j][k] = (machine, duration)`, lists or NumPy; jobs, operations and
    machines count from 0.

    `release` (default 0), `due` (None: no due date) and `weight` (default 1) have one integer per
    job, times in ticks; only a due date may be negative: the job is late when time begins.
    `num_machines` defaults to the largest machine + 1. Returns arrays padded to the longest job:
    int32 `[J, K]`, `[J]`; bool masks. Raises `InstanceError` naming the job and operation at fault;
    also where the latest release plus all durations exceeds int32, or the lateness of a job that
    ends then, so that no schedule built by dispatching can overflow.
    """
    given = {"release": release, "due": due, "weight": weight}
    return to_instance(check(jobs, **given, num_machines=num_machines))


def to_jobs(instance: Shop) -> Jobs:
    """The real operations as `jobs[j][k] = (machine, duration)` Python integers; the row of a
    padded job is empty.
    """
    if instance.machine.ndim != 2:
        raise ValueError(f"need one instance, got a batch of shape {instance.machine.shape[:-2]}")
    machine, duration = (
        np.asarray(instance.machine).tolist(),
        np.asarray(instance.duration).tolist(),
    )
    length = np.asarray(instance.op_mask).sum(1).tolist()
    return [
        list(zip(m[:n], d[:n], strict=True))
        for m, d, n in zip(machine, duration, length, strict=True)
    ]


def check_objective(instance: Instance, objective: str) -> None:
    """Raise `InstanceError` where `objective` of some schedule without needless waiting may exceed
    int32.

    Such a schedule ends by the horizon: the latest release plus all durations, which `from_jobs`
    keeps within int32, so `makespan` always fits. `flow_time` sums up to a horizon for each job,
    `weighted_tardiness` the weight times the horizon for each job with a due date, counted from the
    earliest due date where that is negative. Raises `UnknownNameError` for any other objective.
    """
    if objective not in OBJECTIVES:
        raise UnknownNameError("objective", objective, OBJECTIVES)
    real = [j for j, job in enumerate(to_jobs(instance)) if job]
    leaves = instance.release, instance.weight, instance.due_mask, instance.due
    release, weight, has_due, due = (np.asarray(leaf).tolist() for leaf in leaves)
    horizon = max((release[j] for j in real), default=0) + sum(
        d for job in to_jobs(instance) for _, d in job
    )
    if objective == "weighted_tardiness":
        horizon -= min([0, *(due[j] for j in real if has_due[j])])
    factor = {
        "makespan": 1,
        "flow_time": len(real),
        "weighted_tardiness": sum(weight[j] for j in real if has_due[j]),
    }[objective]
    if factor * horizon > INT32_MAX:
        raise InstanceError(
            f"{objective} may reach {factor} times {horizon} ticks, which exceeds int32: use a coarser unit of time"
            + (" or smaller weights" if objective == "weighted_tardiness" else "")
        )


def check(
    jobs: Iterable[Iterable[Iterable[int]]],
    *,
    release: Iterable[int] | None = None,
    due: Iterable[int | None] | None = None,
    weight: Iterable[int] | None = None,
    num_machines: int | None = None,
) -> Lists:
    """The arguments of `from_jobs` as plain lists; raises `Fault` for what it refuses."""
    if num_machines is not None:
        num_machines = check_machines(num_machines)
    limit = MAX_MACHINES if num_machines is None else num_machines
    rows: Jobs = []
    for j, job in enumerate(array(jobs, "jobs")):
        row: list[tuple[int, int]] = []
        at_job = ("job", j)
        for k, pair in enumerate(array(job, at_job)):
            at = ("operation", k)
            numbers = array(pair, at_job, at)
            if len(numbers) != 2:
                raise Fault(f"expected (machine, duration), got {len(numbers)} values", at_job, at)
            machine = integer(numbers[0], at_job, at, field="machine")
            duration = integer(numbers[1], at_job, at, field="duration")
            if machine >= limit:
                most = f"at most {limit}" if num_machines is None else limit
                reason = f"machine {machine} is out of range, there are {most}, counted from 0"
                raise Fault(reason, at_job, at, field="machine")
            row.append((machine, duration))
        if not row:
            raise Fault("no operations", at_job)
        rows.append(row)
    if not rows:
        raise Fault("there are no jobs")
    longest = max(map(len, rows))
    if len(rows) * longest > MAX_CELLS:
        raise Fault(f"{len(rows)} jobs of up to {longest} operations: more than {MAX_CELLS} in all")
    if num_machines is None:
        num_machines = 1 + max(machine for row in rows for machine, _ in row)

    releases = _per_job(release, "release", len(rows), 0)
    dues = _per_job(due, "due date", len(rows), None)
    weights = _per_job(weight, "weight", len(rows), 1)
    latest, work = max(releases), 0
    for j, row in enumerate(rows):
        for k, (_, duration) in enumerate(row):
            work += duration
            if work > INT32_MAX:
                reason = "the durations so far exceed int32"
                raise Fault(reason, ("job", j), ("operation", k), field="duration")
    if latest + work > INT32_MAX:
        reason = f"release {latest} and all durations, {work}, exceed int32"
        raise Fault(reason, ("job", releases.index(latest)), field="release")
    for j, date in enumerate(dues):
        if date is not None and latest + work - date > INT32_MAX:
            reason = f"due date {date} is too long before the end of all work, {latest + work}"
            raise Fault(reason, ("job", j), field="due date")
    return Lists(rows, releases, dues, weights, num_machines)


def check_machines(num_machines: Any) -> int:
    """A number of machines that is given; raises `Fault`."""
    number = integer(num_machines, field="number of machines")
    if number > MAX_MACHINES:
        raise Fault(f"{number} machines: more than {MAX_MACHINES}", field="number of machines")
    return number


def to_instance(lists: Lists) -> Instance:
    """The padded arrays."""
    longest = max(map(len, lists.jobs))
    machine, duration = np.zeros((2, len(lists.jobs), longest), np.int32)
    op_mask = np.arange(longest) < np.array([len(row) for row in lists.jobs])[:, None]
    machine[op_mask], duration[op_mask] = np.array(
        [pair for row in lists.jobs for pair in row], np.int32
    ).T
    fields: dict[str, Any] = {
        "machine": machine,
        "duration": duration,
        "op_mask": op_mask,
        "machine_mask": np.ones(lists.num_machines, bool),
        "release": np.array(lists.release, np.int32),
        "due": np.array([date or 0 for date in lists.due], np.int32),
        "due_mask": np.array([date is not None for date in lists.due], bool),
        "weight": np.array(lists.weight, np.int32),
    }
    return Instance(**jax.device_put(fields))


def _per_job(values: Iterable[Any] | None, what: str, num_jobs: int, default: Any) -> list[Any]:
    if values is None:
        return [default] * num_jobs
    entries = array(values, what)
    if len(entries) != num_jobs:
        raise Fault(f"{what} has {len(entries)} entries for {num_jobs} jobs")
    if default is not None:
        return [integer(value, ("job", j), field=what) for j, value in enumerate(entries)]
    dates = []  # a due date may be missing, or negative
    for j, date in enumerate(entries):
        signed = None if date is None else integer(date, ("job", j), least=-INT32_MAX, field=what)
        dates.append(signed)
    return dates
