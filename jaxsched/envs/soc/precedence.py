"""Precedence between the tasks of a graph: who follows whom, and an order that keeps it."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from typing import Any


def successors(num_tasks: int, edges: Iterable[tuple[int, int, int]]) -> list[list[int]]:
    """The tasks that follow each task directly, rising; `edges` are (src, dst, volume)."""
    after: list[list[int]] = [[] for _ in range(num_tasks)]
    for src, dst, _ in sorted(edges):
        after[src].append(dst)
    return after


def topological(
    after: Sequence[Sequence[int]],
    priority: Callable[[int], Any] = lambda task: 0,
) -> list[int]:
    """Task ids, each behind its predecessors; the next is that of least `priority`, then least id.

    Kahn, Topological sorting of large networks, CACM 5(11), 1962. Tasks on a cycle, and those
    behind one, are left out.
    """
    waits = [0] * len(after)
    for row in after:
        for task in row:
            waits[task] += 1
    heap = [(priority(task), task) for task, count in enumerate(waits) if not count]
    heapq.heapify(heap)
    order = []
    while heap:
        order.append(heapq.heappop(heap)[1])
        for task in after[order[-1]]:
            waits[task] -= 1
            if not waits[task]:
                heapq.heappush(heap, (priority(task), task))
    return order


def descendants(after: Sequence[Sequence[int]]) -> list[set[int]]:
    """All tasks that need each task, directly or not."""
    reach: list[set[int]] = [set() for _ in after]
    for task in reversed(topological(after)):
        reach[task] = set(after[task]).union(*(reach[each] for each in after[task]))
    return reach
