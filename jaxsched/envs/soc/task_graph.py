"""One task graph with all its times: what list schedules and exact schedules are made of."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from jaxsched.envs.soc.platforms import Job, Platform, StaticGraph, Times
from jaxsched.envs.soc.precedence import successors, topological
from jaxsched.envs.soc.settings import COMMUNICATION
from jaxsched.host.checks import INT32_MAX
from jaxsched.host.errors import InstanceError, UnknownNameError


@dataclasses.dataclass(frozen=True)
class TaskGraph:
    """Tasks, their times on Q processing elements (PEs), and their transfers. Times are whole."""

    exec_time: Sequence[Times]  # [task][pe], None: cannot run there
    before: Sequence[Sequence[int]]  # [task] predecessors, rising
    after: Sequence[Sequence[int]]  # [task] successors, rising
    mean_transfer: dict[tuple[int, int], Fraction]  # edge (src, dst) -> what ranks count for it
    # edge -> i64[Q, Q]  from the PE of src to that of dst; with shared memory i64[Q, 1]  from the
    # PE of src to it
    transfer: dict[tuple[int, int], np.ndarray]
    # i64[task, Q]  from the memory to the PE, once all data are there; 0 without shared memory
    read: np.ndarray

    @property
    def num_tasks(self) -> int:
        """Number of tasks."""
        return len(self.exec_time)

    @property
    def num_pes(self) -> int:
        """Q."""
        return len(self.exec_time[0])

    @functools.cached_property
    def order(self) -> list[int]:
        """Task ids, each behind its predecessors, lowest first."""
        return topological(self.after)

    @functools.cached_property
    def horizon(self) -> int:
        """All tasks and transfers in a row, each at its slowest, and at least 1 per task."""
        tasks = sum(max(1, *(time for time in row if time is not None)) for row in self.exec_time)
        return (
            tasks + sum(int(x.max()) for x in self.transfer.values()) + int(self.read.max(1).sum())
        )

    def able(self, k: int) -> list[int]:
        """The PEs that can run task `k`, rising."""
        return [p for p, time in enumerate(self.exec_time[k]) if time is not None]

    def time(self, k: int, pe: int) -> int:
        """The time of task `k` on a PE that can run it."""
        return self.exec_time[k][pe] or 0

    def arrive(self, k: int, pe: np.ndarray, finish: np.ndarray) -> np.ndarray:
        """i64[Q]: when the data of task `k` are at each PE, its predecessors being placed; 0 for
        a head.
        """
        there = np.zeros(1, np.int64)
        for j in self.before[k]:
            there = np.maximum(there, finish[j] + self.transfer[j, k][pe[j]])
        return there + self.read[k]

    def critical_path(self, least: int = 0) -> int:
        """The longest path of shortest times, transfers and waiting for PEs left out.

        A task keeps its successors waiting for `least` at least.
        """
        finish, retire = [0] * self.num_tasks, [0] * self.num_tasks
        for k in self.order:
            begin = max((retire[j] for j in self.before[k]), default=0)
            finish[k] = begin + min(time for time in self.exec_time[k] if time is not None)
            retire[k] = max(finish[k], begin + least)
        return max(finish)


def static_task_graph(static: StaticGraph) -> TaskGraph:
    """The task graph of a static graph, where nothing is sent within a PE.

    Raises `InstanceError` beyond int32.
    """
    between = static.bandwidth.astype(np.int64)
    np.fill_diagonal(between, INT32_MAX + 1)  # more than any volume
    others = ~np.eye(len(between), dtype=bool)
    read = np.zeros((len(static.exec_time), len(between)), np.int64)
    slowness = _slowness(between[others])
    return _graph(static.name, static.exec_time, static.edges, between, read, slowness)


def job_task_graph(platform: Platform, job: Job, communication: str = "pe_to_pe") -> TaskGraph:
    """The task graph of a job profile on a platform.

    Raises `UnknownNameError`, and `InstanceError` beyond int32 or where there is no shared memory.
    """
    if communication not in COMMUNICATION:
        raise UnknownNameError("communication", communication, COMMUNICATION)
    read = np.zeros((job.num_tasks, platform.num_pes), np.int64)
    if communication == "shared_memory":
        if platform.to_memory is None or platform.from_memory is None:
            raise InstanceError(f"platform {platform.name!r} has no memory node")
        to, back = (speed.astype(np.int64) for speed in (platform.to_memory, platform.from_memory))
        for _, dst, volume in job.edges:
            read[dst] = np.maximum(read[dst], volume // back)
        speed, slowness = to[:, None], _slowness(to) + _slowness(back)
    else:
        speed = platform.bandwidth.astype(np.int64)
        slowness = _slowness(speed[~np.eye(platform.num_pes, dtype=bool)])
    exec_time = [platform.exec_time[name] for name in job.tasks]
    return _graph(job.name, exec_time, job.edges, speed, read, slowness)


def _graph(
    name: str,
    exec_time: Sequence[Times],
    edges: Sequence[tuple[int, int, int]],
    speed: np.ndarray,
    read: np.ndarray,
    slowness: Fraction,
) -> TaskGraph:
    before: list[list[int]] = [[] for _ in exec_time]
    for src, dst, _ in sorted(edges):
        before[dst].append(src)
    means = {(src, dst): volume * slowness for src, dst, volume in edges}
    taken = {volume: volume // speed for _, _, volume in edges}  # once a volume: they may be large
    transfer = {(src, dst): taken[volume] for src, dst, volume in edges}
    graph = TaskGraph(exec_time, before, successors(len(exec_time), edges), means, transfer, read)
    if graph.horizon > INT32_MAX:
        raise InstanceError(
            f"{name!r}: all tasks and transfers in a row take {graph.horizon}, which exceeds int32"
        )
    return graph


def _slowness(bandwidth: np.ndarray) -> Fraction:
    """1 / mean, 0 where there is nothing to take the mean of."""
    return Fraction(bandwidth.size, int(bandwidth.sum())) if bandwidth.size else Fraction(0)
