"""When machines were down: from the starts of a schedule and the draws of its instance, on the
host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from jaxsched.envs.job_shop.blocking.failures import failure_table
from jaxsched.envs.job_shop.blocking.types import Instance
from jaxsched.envs.job_shop.lists import to_jobs

Spans = list[tuple[int, int]]


def downtimes(instance: Instance, start: Sequence[Sequence[int]]) -> list[Spans]:
    """For each machine, the spans in which it was down, rising: failures and maintenance, those
    that touch joined.
    """
    jobs = [job for job in to_jobs(instance) if job]
    down = planned(instance)
    if instance.failures is None:
        return down
    begun: list[list[tuple[int, int]]] = [[] for _ in down]  # (start, duration) by machine
    for job, row in zip(jobs, start, strict=True):
        for (machine, duration), time in zip(job, row, strict=True):
            begun[machine].append((int(time), duration))
    draws = failure_draws(instance, max(map(len, begun)))
    for machine, operations in enumerate(begun):
        maintenance, failures = down[machine], []
        for ordinal, (time, duration) in enumerate(sorted(operations)):
            fails, share, repair = draws(machine, ordinal)
            if fails and duration > 0:
                breaks = work(maintenance, time, duration * share >> 32, through=True)
                failures.append((breaks, breaks + repair))
        down[machine] = joined([*maintenance, *failures])
    return down


def planned(instance: Instance) -> list[Spans]:
    """The maintenance windows of each machine."""
    down: list[Spans] = [
        [] for _ in range(int(np.flatnonzero(instance.machine_mask).max(initial=-1)) + 1)
    ]
    if instance.windows is not None:
        spans = np.stack([instance.windows.start, instance.windows.end], -1).tolist()
        for machine, row in enumerate(spans[: len(down)]):
            down[machine] = [(start, end) for start, end in row if end > start]
    return down


def failure_draws(instance: Instance, count: int) -> Callable[[int, int], tuple[bool, int, int]]:
    """`(machine, ordinal) -> (fails, share, repair)` for the first `count` operations of each
    machine.
    """
    assert instance.failures is not None
    size = 1 << max(count - 1, 0).bit_length()  # few programs
    ids = np.arange(instance.num_machines, dtype=np.int32), np.arange(size, dtype=np.int32)
    tables = [np.asarray(leaf).tolist() for leaf in failure_table(instance.failures, *ids)]
    return lambda machine, ordinal: tuple(rows[machine][ordinal] for rows in tables)


def work(down: Spans, time: int, ticks: int, through: bool = False) -> int:
    """When `ticks` of work that begin at `time` are done, with pauses in `down`.

    `through`: when the tick after them begins.
    """
    for start, end in down:
        if end <= time:
            continue
        ahead = max(start - time, 0)
        if ahead > ticks or (ahead == ticks and not through):
            break
        time, ticks = max(end, time), ticks - ahead
    return time + ticks


def joined(spans: Spans) -> Spans:
    """The union as disjoint, rising spans."""
    union: Spans = []
    for start, end in sorted(spans):
        if union and start <= union[-1][1]:
            union[-1] = union[-1][0], max(union[-1][1], end)
        else:
            union.append((start, end))
    return union
