"""Static list scheduling on the host: HEFT and PEFT, for one task graph and as the plan of one job
of a stream.

Times are whole: a transfer takes volume // bandwidth, as everywhere in this family. Ranks are exact
fractions, with volume / mean bandwidth over the pairs of different PEs. Ties go to the first task
in topological order, lowest id first, and to the lowest PE.

HEFT: Topcuoglu, Hariri & Wu, Performance-effective and low-complexity task scheduling for
heterogeneous computing, IEEE TPDS 13(3), 2002. PEFT: Arabnejad & Barbosa, List scheduling algorithm
for heterogeneous systems by an optimistic cost table, IEEE TPDS 25(3), 2014.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from jaxsched.envs.soc.platforms import Job, Platform
from jaxsched.envs.soc.precedence import topological
from jaxsched.envs.soc.task_graph import TaskGraph, job_task_graph
from jaxsched.host.deadline import NO_LIMIT, Deadline
from jaxsched.host.errors import UnknownNameError


class StaticSchedule(NamedTuple):
    """Where and when each task runs: int32 arrays by task id, and the latest finish."""

    pe: np.ndarray
    start: np.ndarray
    finish: np.ndarray
    makespan: int


def plan(
    platform: Platform, job: Job, method: str, communication: str = "pe_to_pe"
) -> tuple[list[int], list[int | None]]:
    """The plan of one job alone on an empty platform: each task's PE, and the task just before it
    there or None.

    `method`: `heft` or `peft`. With `communication="shared_memory"` data go through the memory also
    between tasks of one PE, and ranks count volume / mean bandwidth to the memory plus volume /
    mean bandwidth from it.
    """
    graph = job_task_graph(platform, job, communication)
    lines = Lines(graph.num_pes)
    placed = _place_all(graph, method, lines)
    previous: list[int | None] = [None] * job.num_tasks
    for row in lines.rows:
        for (_, _, first), (_, _, second) in itertools.pairwise(row):
            previous[second] = first
    return placed.pe.tolist(), previous


def list_schedule(
    graph: TaskGraph,
    method: str,
    least: int = 0,
    deadline: Deadline = NO_LIMIT,
) -> StaticSchedule:
    """HEFT or PEFT.

    A task holds its PE and keeps its successors waiting for `least` at least (1 in streams). Past
    the `deadline` HEFT looks for no gaps, and PEFT raises `TimeoutError`.
    """
    placed = _place_all(graph, method, Lines(graph.num_pes, least, deadline))
    return StaticSchedule(*placed, int(placed.finish.max(initial=0)))


def upward_ranks(
    order: Sequence[int],
    after: Sequence[Sequence[int]],
    mean_time: Sequence[Any],
    transfer: Mapping[tuple[int, int], Any],
    rounded: Callable[[Any], Any] = lambda value: value,
) -> list[Any]:
    """Upward ranks: mean time from the start of a task to the end, transfers included.

    Topcuoglu et al., section 4.1. In the numbers of `mean_time` and `transfer`: fractions in
    plans, where ties decide; `rounded` to float32 in what observations show, as policies saw it.
    """
    rank: list[Any] = [0] * len(after)
    for k in reversed(order):
        tails = [transfer[k, s] + rank[s] for s in after[k]]
        rank[k] = rounded(mean_time[k] + max(tails, default=0))
    return rank


class Placed(NamedTuple):
    """Where and when the tasks of a graph run, those placed so far: int32 arrays by task id."""

    pe: np.ndarray
    start: np.ndarray
    finish: np.ndarray


def nothing_placed(graph: TaskGraph) -> Placed:
    """To be filled by `Lines.place`."""
    return Placed(*np.zeros((3, graph.num_tasks), np.int32))


class Lines:
    """What stands on each PE, in order of time: `rows` of (start, end, task), of several graphs.

    A task holds its PE and keeps its successors waiting for `least` at least. Past the `deadline`
    tasks go behind all others of a PE, for which nothing is searched.
    """

    def __init__(self, num_pes: int, least: int = 0, deadline: Deadline = NO_LIMIT):
        self.rows: list[list[tuple[int, int, int]]] = [[] for _ in range(num_pes)]
        self.least, self.deadline = least, deadline

    def place(
        self,
        graph: TaskGraph,
        placed: Placed,
        k: int,
        cost: Callable[[int, int], Any] = lambda finish, pe: finish,
        release: int = 0,
    ) -> None:
        """Put task `k` in the earliest gap of the PE of least `cost(finish, pe)`.

        Its predecessors are `placed`; it starts at `release` or later.
        """
        earliest = max((int(placed.start[j]) + self.least for j in graph.before[k]), default=0)
        arrive = graph.arrive(k, placed.pe, placed.finish)
        arrive = np.maximum(arrive, max(earliest, release)).tolist()
        find = self._end if self.deadline.is_over() else self._gap
        best = None
        for p in graph.able(k):
            length = graph.time(k, p)
            start, index = find(p, arrive[p], max(length, self.least))
            found = (cost(start + length, p), p, start, index)
            best = found if best is None or found[0] < best[0] else best
        assert best is not None  # some PE can run it, say the checks of platforms and graphs
        _, p, start, index = best
        finish = start + graph.time(k, p)
        self.rows[p].insert(index, (start, max(finish, start + self.least), k))
        placed.pe[k], placed.start[k], placed.finish[k] = p, start, finish

    def _gap(self, p: int, earliest: int, length: int) -> tuple[int, int]:
        """The first start >= `earliest` of a free stretch of `length` on PE `p`, and its index."""
        row = self.rows[p]
        # What is over by then is before it, also a task of length 0.
        first = bisect.bisect_right(row, earliest, key=lambda item: item[1])
        for index in range(first, len(row)):
            start, end, _ = row[index]
            if end > earliest:
                if earliest + length <= start:
                    return earliest, index
                earliest = end
        return earliest, len(row)

    def _end(self, p: int, earliest: int, length: int) -> tuple[int, int]:
        """The first start >= `earliest` behind all that stands on PE `p`."""
        row = self.rows[p]
        return max(earliest, row[-1][1] if row else 0), len(row)


def _place_all(graph: TaskGraph, method: str, lines: Lines) -> Placed:
    methods = {"heft": _place_by_heft, "peft": _place_by_peft}
    if method not in methods:
        raise UnknownNameError("method", method, methods)
    return methods[method](graph, lines)


def _place_by_heft(graph: TaskGraph, lines: Lines) -> Placed:
    placed, mean_time = nothing_placed(graph), []
    for row in graph.exec_time:
        times = [us for us in row if us is not None]
        mean_time.append(Fraction(sum(times), len(times)))
    rank = upward_ranks(graph.order, graph.after, mean_time, graph.mean_transfer)
    # The sort is stable; precedence holds, as ranks do not rise along an edge.
    for k in sorted(graph.order, key=lambda k: -rank[k]):
        lines.place(graph, placed, k)
    return placed


def _place_by_peft(graph: TaskGraph, lines: Lines) -> Placed:
    # [task][pe] optimistic cost: the shortest way to the end from here, no PE being busy.
    table: list[dict[int, Fraction]] = [{} for _ in graph.order]
    rank = [Fraction(0)] * graph.num_tasks
    for k in reversed(graph.order):
        for p in graph.able(k):
            lines.deadline.check()
            ways = [_optimistic(graph, table, k, p, s) for s in graph.after[k]]
            table[k][p] = max(ways, default=Fraction(0))
        rank[k] = sum(table[k].values(), Fraction(0)) / len(table[k])
    placed = nothing_placed(graph)
    position = {k: i for i, k in enumerate(graph.order)}
    for k in topological(graph.after, lambda k: (-rank[k], position[k])):
        lines.place(graph, placed, k, lambda finish, pe, k=k: finish + table[k][pe])
    return placed


def _optimistic(
    graph: TaskGraph,
    table: Sequence[Mapping[int, Fraction]],
    k: int,
    p: int,
    successor: int,
) -> Fraction:
    """From the end of task `k` on PE `p` to the end of all, by its `successor` on the best PE."""
    ways = []
    for q in graph.able(successor):
        transfer = graph.mean_transfer[k, successor] if q != p else 0
        ways.append(table[successor][q] + graph.time(successor, q) + transfer)
    return min(ways)
