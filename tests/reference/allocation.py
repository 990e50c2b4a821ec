"""Static allocation in plain Python: the oracle of the tests and the plain-Python baseline of the
benchmark.

Written from the problem statement alone: ints and lists, no NumPy, nothing of jaxsched. Time is
looked at tick by tick or interval by interval, never in sections.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple


class Buffer(NamedTuple):
    """Live in each of the half-open `lives`, needs `size` units at a multiple of `alignment`;
    `pinned` or not.
    """

    lives: tuple[tuple[int, int], ...]
    size: int
    alignment: int = 1
    pinned: int | None = None


def meet(one: Buffer, other: Buffer) -> bool:
    """They are live at a common time."""
    return any(a < d and c < b for (a, b), (c, d) in itertools.product(one.lives, other.lives))


def apart(low: int, size: int, other_low: int, other_size: int) -> bool:
    """Two blocks of addresses do not overlap."""
    return low + size <= other_low or other_low + other_size <= low


class Simulator:
    """A partial plan on the skyline: `offset[i]` of every buffer placed so far, pinned ones from
    the beginning.
    """

    def __init__(self, buffers: Sequence[Buffer], capacity: int | None = None):
        self.buffers, self.capacity = list(buffers), capacity
        self.offset = {i: b.pinned for i, b in enumerate(self.buffers) if b.pinned is not None}
        self.ticks = sorted({begin for b in self.buffers for begin, _ in b.lives})
        self.neighbours = [
            [j for j, other in enumerate(self.buffers) if j != i and meet(b, other)]
            for i, b in enumerate(self.buffers)
        ]

    def live(self, tick: int) -> list[int]:
        """Buffers live at a tick."""
        return [
            i
            for i, b in enumerate(self.buffers)
            if any(begin <= tick < end for begin, end in b.lives)
        ]

    @property
    def waiting(self) -> list[int]:
        """Buffers not placed, ascending."""
        return [i for i in range(len(self.buffers)) if i not in self.offset]

    def same(self, i: int, j: int) -> bool:
        """They meet the same others in the same way: equal size, alignment and neighbours at
        each largest set.
        """
        one, other = self.buffers[i], self.buffers[j]
        if (one.size, one.alignment, one.pinned, other.pinned) != (
            other.size,
            other.alignment,
            None,
            None,
        ):
            return False
        return all((i in group) == (j in group) for group in self.largest())

    def largest(self) -> list[set[int]]:
        """The sets of buffers live at one time that no other such set contains."""
        groups = [set(self.live(tick)) for tick in self.ticks]
        return [group for group in groups if group and not any(group < other for other in groups)]

    def legal(self) -> list[int]:
        """Buffers not placed, of equal ones the first; none once the capacity is exceeded."""
        if self.overflow():
            return []
        return [i for i in self.waiting if not any(j < i and self.same(i, j) for j in self.waiting)]

    def where(self, i: int) -> int:
        """The offset that a waiting buffer would get."""
        buffer = self.buffers[i]
        beside = [(self.offset[j], self.buffers[j]) for j in self.neighbours[i] if j in self.offset]
        low = max([0, *(offset + other.size for offset, other in beside if other.pinned is None)])
        while True:
            low = -(-low // buffer.alignment) * buffer.alignment
            blocks = [
                (o, b.size)
                for o, b in beside
                if b.pinned is not None and not apart(low, buffer.size, o, b.size)
            ]
            if not blocks:
                return low
            low = max(offset + size for offset, size in blocks)

    def apply(self, i: int) -> None:
        """Place a waiting buffer."""
        self.offset[i] = self.where(i)

    def lower_bound(self) -> int:
        """The largest size live at a tick, or the highest end of a pinned buffer."""
        live = [sum(self.buffers[i].size for i in self.live(tick)) for tick in self.ticks]
        return max([0, *live, *(b.pinned + b.size for b in self.buffers if b.pinned is not None)])

    def bound(self) -> int:
        """No completion of this partial plan has a smaller peak; the peak once all are placed."""
        best = self.lower_bound()
        for tick in self.ticks:
            movable = [i for i in self.live(tick) if self.buffers[i].pinned is None]
            top = max(
                [0, *(self.offset[i] + self.buffers[i].size for i in movable if i in self.offset)]
            )
            best = max(
                best, top + sum(self.buffers[i].size for i in movable if i not in self.offset)
            )
        return best

    def overflow(self) -> bool:
        """No completion keeps within the capacity, as far as the bound tells."""
        return self.capacity is not None and self.bound() > self.capacity

    def peak(self) -> int:
        """The highest end of a placed buffer."""
        return max([0, *(offset + self.buffers[i].size for i, offset in self.offset.items())])


def faults(buffers: Sequence[Buffer], offsets: Sequence[int]) -> list[tuple[int, ...]]:
    """Pairs that overlap, and single buffers that are not where they must be."""
    wrong: list[tuple[int, ...]] = []
    for i, (b, offset) in enumerate(zip(buffers, offsets, strict=True)):
        if offset < 0 or offset % b.alignment or (b.pinned is not None and offset != b.pinned):
            wrong.append((i,))
    for i, j in itertools.combinations(range(len(buffers)), 2):
        if meet(buffers[i], buffers[j]) and not apart(
            offsets[i], buffers[i].size, offsets[j], buffers[j].size
        ):
            wrong.append((i, j))
    return wrong


def optimum(buffers: Sequence[Buffer]) -> int:
    """The smallest peak, by trying all offsets in turn: the definition. For a handful of small
    buffers only.
    """
    order = sorted(range(len(buffers)), key=lambda i: (buffers[i].pinned is None, -buffers[i].size))
    best = sum(b.size + b.alignment for b in buffers) + max([0, *(b.pinned or 0 for b in buffers)])
    step_of = [b.alignment for b in buffers]

    def extend(k: int, placed: dict[int, int], peak: int) -> None:
        nonlocal best
        if peak >= best:
            return
        if k == len(order):
            best = peak
            return
        i = order[k]
        b = buffers[i]
        choices = [b.pinned] if b.pinned is not None else range(0, best - b.size, step_of[i])
        for offset in choices:
            if all(
                not meet(b, buffers[j]) or apart(offset, b.size, o, buffers[j].size)
                for j, o in placed.items()
            ):
                extend(k + 1, placed | {i: offset}, max(peak, offset + b.size))

    extend(0, {}, 0)
    return best


ORDERS = {  # sort keys; stable, so that further ties go to the buffer that comes first
    "size": lambda b: (-b.size, -_duration(b)),
    "duration": lambda b: (-_duration(b), -b.size),
    "area": lambda b: (-b.size * _duration(b), -b.size),
    "start": lambda b: (b.lives[0][0], -b.size),
}


def heuristic(buffers: Sequence[Buffer], fit: str, rule: str) -> list[int]:
    """Offsets of `best` or `first` fit in one of `ORDERS`; pinned buffers are there from the
    beginning.
    """
    offset = {i: b.pinned for i, b in enumerate(buffers) if b.pinned is not None}
    for i in sorted(range(len(buffers)), key=lambda i: ORDERS[rule](buffers[i])):
        if i in offset:
            continue
        b = buffers[i]
        blocks = sorted((o, o + buffers[j].size) for j, o in offset.items() if meet(b, buffers[j]))
        gaps, floor = [], 0
        for low, high in blocks:
            start = -(-floor // b.alignment) * b.alignment
            if start + b.size <= low:
                gaps.append((low - floor, start))
            floor = max(floor, high)
        if not gaps:
            offset[i] = -(-floor // b.alignment) * b.alignment
        else:
            offset[i] = min(gaps)[1] if fit == "best" else gaps[0][1]
    return [offset[i] for i in range(len(buffers))]


def _duration(b: Buffer) -> int:
    return sum(end - begin for begin, end in b.lives)
