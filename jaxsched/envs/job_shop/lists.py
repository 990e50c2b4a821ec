"""Job shops from lists and back, and the checks that every instance passes, whatever it was read from."""

from __future__ import annotations

import dataclasses
import operator
import reprlib
from collections.abc import Iterable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxsched.envs.job_shop.settings import OBJECTIVES
from jaxsched.envs.job_shop.sources import INT32_MAX
from jaxsched.envs.job_shop.types import Instance, Shop
from jaxsched.host.errors import InstanceError, PortableError, UnknownNameError

MAX_CELLS = 2**22  # jobs times the longest job: the size of the padded arrays
MAX_MACHINES = 2**16

Jobs = list[list[tuple[int, int]]]


@dataclasses.dataclass(frozen=True)
class Lists:
    """A checked instance as plain lists: `jobs[j][k] = (machine, duration)` and one entry per job in the others."""

    jobs: Jobs
    release: list[int]
    due: list[int | None]
    weight: list[int]
    num_machines: int


class Fault(PortableError, ValueError):
    """What `check` found: `reason`, and the job, operation and item at fault where there are such.

    `item` is 0 for the machine and 1 for the duration of an operation. Callers turn it into an `InstanceError`, adding
    what they know: the file, the line, the names of jobs.
    """

    def __init__(self, reason: str, job: int | None = None, op: int | None = None, item: int | None = None):
        self.reason, self.job, self.op, self.item = reason, job, op, item
        what = "" if job is None else f"job {job}: " if op is None else f"job {job}, operation {op}: "
        super().__init__(what + reason)


def from_jobs(
    jobs: Iterable[Iterable[Iterable[int]]],
    *,
    release: Iterable[int] | None = None,
    due: Iterable[int | None] | None = None,
    weight: Iterable[int] | None = None,
    num_machines: int | None = None,
) -> Instance:
    """An instance from `jobs[j][k] = (machine, duration)`, lists or NumPy; jobs, operations and machines count from 0.

    `release` (default 0), `due` (None: no due date) and `weight` (default 1) have one integer per
    job, times in ticks; only a due date may be negative: the job is late when time begins.
    `num_machines` defaults to the largest machine + 1. Returns arrays padded to the longest job:
    int32 `[J, K]`, `[J]`; bool masks. Raises `InstanceError` naming the job and operation at fault;
    also where the latest release plus all durations exceeds int32, or the lateness of a job that
    ends then, so that no schedule built by dispatching can overflow.
    """
    try:
        return to_instance(check(jobs, release=release, due=due, weight=weight, num_machines=num_machines))
    except Fault as fault:
        raise InstanceError(str(fault)) from None


def to_jobs(instance: Shop) -> Jobs:
    """The real operations as `jobs[j][k] = (machine, duration)` Python integers; the row of a padded job is empty."""
    if instance.machine.ndim != 2:
        raise ValueError(f"need one instance, got a batch of shape {instance.machine.shape[:-2]}")
    machine, duration = np.asarray(instance.machine).tolist(), np.asarray(instance.duration).tolist()
    length = np.asarray(instance.op_mask).sum(1).tolist()
    return [list(zip(m[:n], d[:n], strict=True)) for m, d, n in zip(machine, duration, length, strict=True)]


def check_objective(instance: Instance, objective: str) -> None:
    """Raise `InstanceError` where `objective` of some schedule without needless waiting may exceed int32.

    Such a schedule ends by the horizon: the latest release plus all durations, which `from_jobs` keeps within int32, so
    `makespan` always fits. `flow_time` sums up to a horizon for each job, `weighted_tardiness` the
    weight times the horizon for each job with a due date, counted from the earliest due date where
    that is negative. Raises `UnknownNameError` for any other objective.
    """
    if objective not in OBJECTIVES:
        raise UnknownNameError("objective", objective, OBJECTIVES)
    real = [j for j, job in enumerate(to_jobs(instance)) if job]
    leaves = instance.release, instance.weight, instance.due_mask, instance.due
    release, weight, has_due, due = (np.asarray(leaf).tolist() for leaf in leaves)
    horizon = max((release[j] for j in real), default=0) + sum(d for job in to_jobs(instance) for _, d in job)
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
        num_machines = integer(num_machines, "number of machines ")
        if num_machines > MAX_MACHINES:
            raise Fault(f"{num_machines} machines: more than {MAX_MACHINES}")
    limit = MAX_MACHINES if num_machines is None else num_machines
    rows: Jobs = []
    for j, job in enumerate(listed(jobs, "jobs: ")):
        row: list[tuple[int, int]] = []
        for k, pair in enumerate(listed(job, "", j)):
            numbers = listed(pair, "", j, k)
            if len(numbers) != 2:
                raise Fault(f"expected (machine, duration), got {len(numbers)} values", j, k)
            machine, duration = integer(numbers[0], "machine ", j, k, 0), integer(numbers[1], "duration ", j, k, 1)
            if machine >= limit:
                most = f"at most {limit}" if num_machines is None else limit
                raise Fault(f"machine {machine} is out of range, there are {most}, counted from 0", j, k, 0)
            row.append((machine, duration))
        if not row:
            raise Fault("no operations", j)
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
                raise Fault("the durations so far exceed int32", j, k, 1)
    if latest + work > INT32_MAX:
        reason = f"release {latest} and all durations, {work}, exceed int32"
        raise Fault(reason, releases.index(latest))
    for j, date in enumerate(dues):
        if date is not None and latest + work - date > INT32_MAX:
            reason = f"due date {date} is too long before the end of all work, {latest + work}"
            raise Fault(reason, j)
    return Lists(rows, releases, dues, weights, num_machines)


def to_instance(lists: Lists) -> Instance:
    """The padded arrays."""
    longest = max(map(len, lists.jobs))
    machine, duration = np.zeros((2, len(lists.jobs), longest), np.int32)
    op_mask = np.arange(longest) < np.array([len(row) for row in lists.jobs])[:, None]
    machine[op_mask], duration[op_mask] = np.array([pair for row in lists.jobs for pair in row], np.int32).T
    return Instance(
        machine=jnp.asarray(machine),
        duration=jnp.asarray(duration),
        op_mask=jnp.asarray(op_mask),
        machine_mask=jnp.ones(lists.num_machines, jnp.bool_),
        release=jnp.asarray(lists.release, jnp.int32),
        due=jnp.asarray([date or 0 for date in lists.due], jnp.int32),
        due_mask=jnp.asarray([date is not None for date in lists.due], jnp.bool_),
        weight=jnp.asarray(lists.weight, jnp.int32),
    )


def _per_job(values: Iterable[Any] | None, what: str, num_jobs: int, default: Any) -> list[Any]:
    if values is None:
        return [default] * num_jobs
    entries = listed(values, f"{what}: ")
    if len(entries) != num_jobs:
        raise Fault(f"{what} has {len(entries)} entries for {num_jobs} jobs")
    is_date = default is None  # a due date may be missing, or negative
    numbers = []
    for j, value in enumerate(entries):
        missing = is_date and value is None
        numbers.append(None if missing else integer(value, f"{what} ", j, signed=is_date))
    return numbers


def integer(value: Any, what: str, *where: int, signed: bool = False) -> int:
    """`value` as an integer in [0, 2**31), or a `Fault`; `what` and `where` are for messages.

    With `signed` in (-2**31, 2**31).
    """
    if type(value) is int and 0 <= value <= INT32_MAX:  # almost always
        return value
    try:
        # operator.index refuses floats and strings, but takes booleans
        number = None if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise Fault(f"{what}{reprlib.repr(value)} is not an integer", *where)
    if abs(number) > INT32_MAX:
        raise Fault(f"{what}does not fit int32", *where)
    if number < 0 and not signed:
        raise Fault(f"{what}{number} is negative", *where)
    return number


def listed(values: Any, what: str, *where: int) -> Sequence[Any]:
    """`values` as a sequence, or a `Fault`."""
    if isinstance(values, list | tuple):
        return values
    if hasattr(values, "tolist"):  # NumPy and JAX arrays, at once instead of element by element
        values = values.tolist()
    if isinstance(values, str | bytes | dict) or not isinstance(values, Iterable):
        raise Fault(f"{what}expected a sequence, got {reprlib.repr(values)}", *where)
    return list(values)
