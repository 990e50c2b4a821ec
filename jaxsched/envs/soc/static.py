"""Static list scheduling on the host: HEFT and PEFT, for one task graph and as the plan of one job of a stream.

Times are whole: a transfer takes volume // bandwidth, as everywhere in this family. Ranks are exact fractions, with
volume / mean bandwidth over the pairs of different PEs. Ties go to the first task in topological order, lowest id
first, and to the lowest PE.

HEFT: Topcuoglu, Hariri & Wu, Performance-effective and low-complexity task scheduling for heterogeneous computing, IEEE
TPDS 13(3), 2002. PEFT: Arabnejad & Barbosa, List scheduling algorithm for heterogeneous systems by an optimistic cost
table, IEEE TPDS 25(3), 2014.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from jaxsched.core.errors import InstanceError, UnknownNameError
from jaxsched.envs.soc.checks import INT32_MAX
from jaxsched.envs.soc.io import load_static
from jaxsched.envs.soc.platforms import Data, Job, Platform, StaticGraph, Times

METHODS = ("heft", "peft", "exact")


class StaticSchedule(NamedTuple):
    """Where and when each task runs: int32 arrays by task id, and the latest finish."""

    pe: np.ndarray
    start: np.ndarray
    finish: np.ndarray
    makespan: int


@dataclasses.dataclass(frozen=True)
class TaskGraph:
    """One task graph with its times in full: what the methods of this module and of `exact.py` schedule."""

    exec_time: Sequence[Times]  # [task][pe], None: cannot run there
    before: Sequence[Sequence[int]]  # [task] predecessors, rising
    mean_transfer: dict[tuple[int, int], Fraction]  # edge (src, dst) -> what ranks count for it
    # edge -> i64[Q, Q]  from the PE of src to that of dst; with shared memory i64[Q, 1]  from the PE of src to it
    transfer: dict[tuple[int, int], np.ndarray]
    read: np.ndarray  # i64[task, Q]  from the memory to the PE, once all data are there; 0 without shared memory

    @property
    def num_tasks(self) -> int:
        """Number of tasks."""
        return len(self.exec_time)

    @property
    def num_pes(self) -> int:
        """Q."""
        return len(self.exec_time[0])

    @property
    def horizon(self) -> int:
        """All tasks and transfers in a row, each at its slowest, and at least 1 per task."""
        tasks = sum(max(1, *(time for time in row if time is not None)) for row in self.exec_time)
        return tasks + sum(int(x.max()) for x in self.transfer.values()) + int(self.read.max(1).sum())

    def able(self, k: int) -> list[int]:
        """The PEs that can run task `k`, rising."""
        return [p for p, time in enumerate(self.exec_time[k]) if time is not None]

    def arrive(self, k: int, pe: np.ndarray, finish: np.ndarray) -> np.ndarray:
        """i64[Q]: when the data of task `k` are at each PE, its predecessors being placed; 0 for a head."""
        there = np.zeros(1, np.int64)
        for j in self.before[k]:
            there = np.maximum(there, finish[j] + self.transfer[j, k][pe[j]])
        return there + self.read[k]


def schedule_static(
    dag: Data | StaticGraph, method: str = "heft", *, time_limit: float = 60.0, seed: int = 0
) -> StaticSchedule:
    """A schedule of one task graph that minimises its makespan.

    `dag`: name, path or dict of the schema `jaxsched-static-dag/1`, or a `StaticGraph`. `method`: `heft`, `peft`, or
    `exact` with CP-SAT in `time_limit` seconds (the best found by then, at least as good as HEFT and PEFT;
    `exact.solve_static` also tells the bound). Raises `InstanceError`, `UnknownNameError`, `ImportError` where OR-Tools
    is missing.
    """
    if method not in METHODS:
        raise UnknownNameError("method", method, METHODS)
    graph = of_static(dag if isinstance(dag, StaticGraph) else load_static(dag))
    if method == "exact":
        from jaxsched.envs.soc.exact import solve_graph

        return solve_graph(graph, time_limit=time_limit, seed=seed).schedule
    return list_schedule(graph, method)


def plan(
    platform: Platform, job: Job, method: str, communication: str = "pe_to_pe"
) -> tuple[list[int], list[int | None]]:
    """The plan of one job alone on an empty platform: each task's PE, and the task just before it there or None.

    `method`: `heft` or `peft`. With `communication="shared_memory"` data go through the memory also between tasks of
    one PE, and ranks count volume / mean bandwidth to the memory plus volume / mean bandwidth from it.
    """
    lines = _place(of_job(platform, job, communication), method)
    previous: list[int | None] = [None] * job.num_tasks
    for line in lines.lines:
        for (_, _, first), (_, _, second) in itertools.pairwise(line):
            previous[second] = first
    return lines.pe.tolist(), previous


def list_schedule(graph: TaskGraph, method: str, least: int = 0) -> StaticSchedule:
    """HEFT or PEFT; a task holds its PE and keeps its successors waiting for `least` at least (1 in streams)."""
    return _place(graph, method, least).schedule()


# ----------------------------------------------------------------------------------------------------- task graphs


def of_static(static: StaticGraph) -> TaskGraph:
    """The task graph of a static graph: nothing is sent within a PE."""
    between = static.bandwidth.astype(np.int64)
    np.fill_diagonal(between, INT32_MAX)
    others = ~np.eye(len(between), dtype=bool)
    transfer = {(src, dst): np.where(others, volume // between, 0) for src, dst, volume in static.edges}
    read = np.zeros((len(static.exec_time), len(between)), np.int64)
    return _graph(static.name, static.exec_time, static.edges, transfer, read, _mean(between[others]))


def of_job(platform: Platform, job: Job, communication: str = "pe_to_pe") -> TaskGraph:
    """The task graph of a job profile on a platform."""
    read = np.zeros((job.num_tasks, platform.num_pes), np.int64)
    if communication == "shared_memory":
        if platform.to_memory is None or platform.from_memory is None:
            raise InstanceError(f"platform {platform.name!r} has no memory node")
        to, back = (array.astype(np.int64) for array in (platform.to_memory, platform.from_memory))
        transfer = {(src, dst): (volume // to)[:, None] for src, dst, volume in job.edges}
        for _, dst, volume in job.edges:
            read[dst] = np.maximum(read[dst], volume // back)
        slowness = _mean(to) + _mean(back)
    elif communication == "pe_to_pe":
        between = platform.bandwidth.astype(np.int64)
        transfer = {(src, dst): volume // between for src, dst, volume in job.edges}
        slowness = _mean(between[~np.eye(platform.num_pes, dtype=bool)])
    else:
        raise UnknownNameError("communication", communication, ("pe_to_pe", "shared_memory"))
    return _graph(job.name, [platform.exec_time[name] for name in job.tasks], job.edges, transfer, read, slowness)


def topological(graph: TaskGraph) -> list[int]:
    """Task ids, each behind its predecessors, lowest first."""
    after = _after(graph)
    waits = [len(row) for row in graph.before]
    heap = [k for k in range(graph.num_tasks) if not waits[k]]
    order = []
    while heap:
        order.append(heapq.heappop(heap))
        for s in after[order[-1]]:
            waits[s] -= 1
            if not waits[s]:
                heapq.heappush(heap, s)
    return order


def _graph(
    name: str,
    exec_time: Sequence[Times],
    edges: Sequence[tuple[int, int, int]],
    transfer: dict[tuple[int, int], np.ndarray],
    read: np.ndarray,
    slowness: Fraction,
) -> TaskGraph:
    before: list[list[int]] = [[] for _ in exec_time]
    for src, dst, _ in sorted(edges):
        before[dst].append(src)
    means = {(src, dst): volume * slowness for src, dst, volume in edges}
    graph = TaskGraph(exec_time, before, means, transfer, read)
    if graph.horizon > INT32_MAX:
        raise InstanceError(f"{name!r}: all tasks and transfers in a row take {graph.horizon}, which exceeds int32")
    return graph


def _mean(bandwidth: np.ndarray) -> Fraction:
    """1 / mean, 0 where there is nothing to take the mean of."""
    return Fraction(bandwidth.size, int(bandwidth.sum())) if bandwidth.size else Fraction(0)


def _after(graph: TaskGraph) -> list[list[int]]:
    after: list[list[int]] = [[] for _ in graph.before]
    for k, row in enumerate(graph.before):
        for j in row:
            after[j].append(k)
    return after


# --------------------------------------------------------------------------------------------------- list scheduling


def _place(graph: TaskGraph, method: str, least: int = 0) -> _Lines:
    methods = {"heft": _heft, "peft": _peft}
    if method not in methods:
        raise UnknownNameError("method", method, methods)
    lines = _Lines(graph, least)
    methods[method](graph, lines)
    return lines


def _heft(graph: TaskGraph, lines: _Lines) -> None:
    order, after = topological(graph), _after(graph)
    rank = [Fraction(0)] * graph.num_tasks
    for k in reversed(order):
        times = [time for time in graph.exec_time[k] if time is not None]
        tail = max((graph.mean_transfer[k, s] + rank[s] for s in after[k]), default=Fraction(0))
        rank[k] = Fraction(sum(times), len(times)) + tail
    for k in sorted(order, key=lambda k: -rank[k]):  # stable; precedence holds, as ranks do not rise along an edge
        lines.place(k, lambda finish, pe: finish)


def _peft(graph: TaskGraph, lines: _Lines) -> None:
    order, after = topological(graph), _after(graph)
    # [task][pe] optimistic cost: the shortest way to the end from here, no PE being busy.
    table: list[dict[int, Fraction]] = [{} for _ in order]
    rank = [Fraction(0)] * graph.num_tasks
    for k in reversed(order):
        for p in graph.able(k):
            table[k][p] = max(
                (
                    min(
                        table[s][q] + (graph.exec_time[s][q] or 0) + (graph.mean_transfer[k, s] if q != p else 0)
                        for q in graph.able(s)
                    )
                    for s in after[k]
                ),
                default=Fraction(0),
            )
        rank[k] = sum(table[k].values(), Fraction(0)) / len(table[k])
    position = {k: i for i, k in enumerate(order)}
    waits = [len(row) for row in graph.before]
    heap = [(-rank[k], position[k]) for k in order if not waits[k]]
    heapq.heapify(heap)
    while heap:
        k = order[heapq.heappop(heap)[1]]
        lines.place(k, lambda finish, pe, k=k: finish + table[k][pe])
        for s in after[k]:
            waits[s] -= 1
            if not waits[s]:
                heapq.heappush(heap, (-rank[s], position[s]))


class _Lines:
    """What is placed on each PE, in order of time."""

    def __init__(self, graph: TaskGraph, least: int):
        self.graph, self.least = graph, least
        self.lines: list[list[tuple[int, int, int]]] = [[] for _ in graph.exec_time[0]]  # (start, end, task)
        self.pe, self.start, self.finish = np.zeros((3, graph.num_tasks), np.int32)

    def place(self, k: int, cost: Callable[[int, int], Any]) -> None:
        """Put task `k`, its predecessors placed, in the earliest gap of the PE of least `cost(finish, pe)`."""
        graph, found = self.graph, []
        arrive = graph.arrive(k, self.pe, self.finish)
        if self.least:
            arrive = np.maximum(arrive, max((self.start[j] + self.least for j in graph.before[k]), default=0))
        for p in graph.able(k):
            length = graph.exec_time[k][p] or 0
            start, index = gap(self.lines[p], int(arrive[p]), max(length, self.least))
            found.append((cost(start + length, p), p, start, start + length, index))
        _, p, start, finish, index = min(found, key=lambda item: item[:2])
        self.lines[p].insert(index, (start, max(finish, start + self.least), k))
        self.pe[k], self.start[k], self.finish[k] = p, start, finish

    def schedule(self) -> StaticSchedule:
        return StaticSchedule(self.pe, self.start, self.finish, int(self.finish.max(initial=0)))


def gap(line: Sequence[tuple[int, int, Any]], earliest: int, length: int) -> tuple[int, int]:
    """The first start >= `earliest` of a free stretch of `length` in a row of (start, finish, ...), and its index."""
    for index, (start, finish, _) in enumerate(line):
        if finish > earliest:  # what is over by then is before it, also a task of length 0
            if earliest + length <= start:
                return earliest, index
            earliest = finish
    return earliest, len(line)
