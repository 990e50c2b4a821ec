"""Orders of the operations on every machine: the earliest starts of one, or the circle for which
there are none.

Starts are longest paths (Mascis & Pacciarelli, EJOR 143, 2002): an operation begins no earlier than
the one before it in its job ends, and no earlier than the job before it on its machine begins its
next operation. A circle of such relations that takes no time is a swap. Within a moment, an
operation of duration 0 takes an instant, and without swaps so does every move, so that no job takes
a machine before it is left.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Sequence

from jaxsched.envs.job_shop.blocking.types import Instance
from jaxsched.envs.job_shop.lists import Jobs, to_jobs
from jaxsched.host.errors import InstanceError

Op = tuple[int, int]  # job, operation
Arc = tuple[Op, Op, int]  # from, to, instants


def earliest_starts(
    instance: Instance, machine_sequences: Sequence[Iterable[Op]], swap: bool = True
) -> list[list[int]] | None:
    """`start[j][k]` when all machines keep to their orders `machine_sequences[m] = [(job,
    operation), ...]`.

    None where the shop would deadlock (`sequence_deadlock` says how). Raises `InstanceError` where
    a machine's operations are not each listed once, and for an instance that is interrupted.
    """
    return _solve(instance, machine_sequences, swap)[0]


def sequence_deadlock(
    instance: Instance, machine_sequences: Sequence[Iterable[Op]], swap: bool = True
) -> str | None:
    """The circle of jobs and machines that these orders deadlock in, in one line; None where
    they do not.
    """
    starts, circle = _solve(instance, machine_sequences, swap)
    if starts is not None:
        return None
    jobs = [job for job in to_jobs(instance) if job]
    parts = [f"job {j}, operation {k} on machine {jobs[j][k][0]}" for j, k in circle]
    return "deadlock: " + " before ".join([*parts, parts[0]])


def instants(jobs: Jobs) -> int:
    """Instants in a tick: more than can follow each other within a moment."""
    return 2 * sum(map(len, jobs)) + 2


def route(jobs: Jobs, job: int, op: int, tick: int) -> int:
    """Instants from the start of an operation to its end."""
    return max(tick * jobs[job][op][1], 1)


def refuse_interruptions(instance: Instance) -> None:
    """Raise `InstanceError` for an instance with failures or maintenance."""
    if instance.windows is not None or (
        instance.failures is not None and float(instance.failures.probability) > 0
    ):
        raise InstanceError("this shop is interrupted: what happens is known only by playing it")


def _solve(
    instance: Instance, sequences: Sequence[Iterable[Op]], swap: bool
) -> tuple[list[list[int]] | None, list[Op]]:
    """The starts and no circle, or None and a circle of operations."""
    refuse_interruptions(instance)
    jobs = [job for job in to_jobs(instance) if job]
    release = [
        int(time)
        for time, real in zip(instance.release, instance.op_mask, strict=True)
        if bool(real[0])
    ]
    orders = _checked(jobs, sequences)
    tick = instants(jobs)
    after: dict[Op, list[tuple[Op, int]]] = {
        (j, k): [] for j, job in enumerate(jobs) for k in range(len(job))
    }
    for j, job in enumerate(jobs):
        for k in range(1, len(job)):
            after[j, k - 1].append(((j, k), route(jobs, j, k - 1, tick)))
    for order in orders:
        for (j, k), b in itertools.pairwise(order):
            if k + 1 == len(jobs[j]):
                after[j, k].append((b, route(jobs, j, k, tick)))
            elif (j, k + 1) != b:
                after[j, k + 1].append((b, 0 if swap else 1))

    time = {op: tick * release[op[0]] if op[1] == 0 else 0 for op in after}
    depth, cause = dict.fromkeys(after, 0), dict[Op, Op]()
    queue, queued = deque(after), set(after)
    while queue:
        a = queue.popleft()
        queued.discard(a)
        for b, weight in after[a]:
            if time[b] < time[a] + weight:
                time[b], cause[b], depth[b] = time[a] + weight, a, depth[a] + 1
                # A path that visits an operation twice shows in the causes, if not at once.
                if depth[b] > len(after) and (circle := _circle(cause, b)):
                    return None, circle
                if b not in queued:
                    queue.append(b)
                    queued.add(b)
    return [[time[j, k] // tick for k in range(len(job))] for j, job in enumerate(jobs)], []


def _circle(cause: dict[Op, Op], op: Op) -> list[Op]:
    """The circle that the causes of an operation lead to, in order of time; empty where they
    lead to a first one.
    """
    path: list[Op] = []
    while op not in path:
        path.append(op)
        if op not in cause:
            return []
        op = cause[op]
    return path[path.index(op) :][::-1]


def _checked(jobs: Jobs, sequences: Sequence[Iterable[Op]]) -> list[list[Op]]:
    """The orders as lists, each operation once and on its machine."""
    orders, seen = [], set()
    for machine, sequence in enumerate(sequences):
        order = [(int(j), int(k)) for j, k in sequence]
        for j, k in order:
            if not (0 <= j < len(jobs) and 0 <= k < len(jobs[j])):
                raise InstanceError(
                    f"machine_sequences[{machine}]: there is no operation {k} of job {j}"
                )
            if jobs[j][k][0] != machine:
                reason = f"operation {k} of job {j} is done on machine {jobs[j][k][0]}"
                raise InstanceError(f"machine_sequences[{machine}]: {reason}")
            if (j, k) in seen:
                raise InstanceError(
                    f"machine_sequences[{machine}]: operation {k} of job {j} is listed twice"
                )
            seen.add((j, k))
        orders.append(order)
    for j, job in enumerate(jobs):
        for k, (machine, _) in enumerate(job):
            if (j, k) not in seen:
                raise InstanceError(
                    f"machine_sequences[{machine}]: operation {k} of job {j} is missing"
                )
    return orders
