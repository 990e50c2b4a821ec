"""Dispatching in O(log n) per operation: the operations that wait for each machine, in queues."""

from __future__ import annotations

import heapq
from collections import defaultdict
from typing import NamedTuple

Entry = tuple  # of numbers, compared in order; the last is the turn of its job


class Dispatched(NamedTuple):
    """The operation that is dispatched next: that of `job`, on `machine`, from `start` on."""

    job: int
    machine: int
    start: int


class WaitingOperations:
    """Operations that wait for machines; the least by (time, priority, job, machine) is next.

    The time is the earliest start plus a lag: 0 goes by starts, the duration by ends. A job waits
    with one operation, for one machine or for several of which it takes one. All times are in
    ticks.

    The earliest start is the later of when the job is ready and when the machine is free. While a
    machine is busy, those who are ready before it is free share that start and are ordered by the
    rest; those who come later are ordered by their own time. So a machine has a queue of each, and
    an operation moves from the second to the first once. The best of each machine is in `offers`.
    """

    def __init__(self, num_jobs: int):
        self.free: dict[int, int] = defaultdict(int)  # by machine
        self.turn = [0] * num_jobs  # by job; what waits from an earlier turn is gone
        self.ready: dict[int, list[Entry]] = defaultdict(list)  # (lag, priority, job, turn)
        # (when, lag, priority, job, turn)
        self.arriving: dict[int, list[Entry]] = defaultdict(list)
        # (when + lag, priority, job, when, turn)
        self.later: dict[int, list[Entry]] = defaultdict(list)
        self.offers: list[Entry] = []  # (time, priority, job, machine, start, turn)
        self.offer: dict[int, Entry] = {}  # of each machine the one of `offers` that counts

    def add(self, job: int, machine: int, when: int, lag: int, priority: float) -> None:
        """The operation of `job`, ready at `when`, waits for `machine`."""
        turn = self.turn[job]
        if when <= self.free[machine]:
            heapq.heappush(self.ready[machine], (lag, priority, job, turn))
        else:
            heapq.heappush(self.arriving[machine], (when, lag, priority, job, turn))
            heapq.heappush(self.later[machine], (when + lag, priority, job, when, turn))
        start = max(when, self.free[machine])
        self._make_offer(machine, (start + lag, priority, job, machine, start, turn))

    def dispatch(self) -> Dispatched:
        """The next operation, whose job waits no longer; to be followed by `occupy`."""
        while True:
            entry = heapq.heappop(self.offers)
            _, _, job, machine, start, turn = entry
            if self.offer.get(machine) is not entry:
                continue
            del self.offer[machine]
            if turn == self.turn[job]:
                self.turn[job] += 1
                return Dispatched(job, machine, start)
            self._make_next_offer(machine)

    def occupy(self, machine: int, end: int) -> None:
        """The machine is busy until `end`."""
        self.free[machine] = end
        arriving = self.arriving[machine]
        while arriving and arriving[0][0] <= end:
            _, lag, priority, job, turn = heapq.heappop(arriving)
            heapq.heappush(self.ready[machine], (lag, priority, job, turn))
        self._make_next_offer(machine)

    def _make_next_offer(self, machine: int) -> None:
        """The best of those who wait for the machine, after its last offer was taken or is gone."""
        free, ready, later = self.free[machine], self.ready[machine], self.later[machine]
        while ready and ready[0][-1] != self.turn[ready[0][2]]:
            heapq.heappop(ready)
        if ready:
            lag, priority, job, turn = ready[0]
            self._make_offer(machine, (free + lag, priority, job, machine, free, turn))
        while later and (later[0][3] <= free or later[0][-1] != self.turn[later[0][2]]):
            heapq.heappop(later)
        if later:
            time, priority, job, when, turn = later[0]
            self._make_offer(machine, (time, priority, job, machine, when, turn))

    def _make_offer(self, machine: int, entry: Entry) -> None:
        if machine not in self.offer or entry < self.offer[machine]:
            self.offer[machine] = entry
            heapq.heappush(self.offers, entry)
