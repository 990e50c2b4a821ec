"""Tensor replacement in plain Python: the oracle of the tests and the plain-Python baseline of the
benchmark.

Written from the problem statement alone: ints, lists and sets, nothing of jaxsched. `Simulator`
plays the decision process; `optimum` is the definition of the optimum, a shortest path over
everything that may be resident, not over what the process can reach.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple


class Problem(NamedTuple):
    """Operators as (inputs, outputs), tensors by number."""

    sizes: list[int]
    backed: list[bool]
    ops: list[tuple[list[int], list[int]]]
    capacity: int

    def tensors(self, op: int) -> list[int]:
        return [*self.ops[op][0], *self.ops[op][1]]

    def ready(self, done: Collection[int]) -> list[int]:
        """Operators that did not run, with inputs that are there or were made."""
        made = {a for op in done for a in self.ops[op][1]} | {
            a for a, backed in enumerate(self.backed) if backed
        }
        return [
            op for op, (reads, _) in enumerate(self.ops) if op not in done and made >= set(reads)
        ]


class Simulator:
    """Operators that ran, in `order`, and what is where: `resident` maps a tensor to its offset
    (0 with bytes).
    """

    def __init__(self, problem: Problem, schedule: str, placement: str):
        self.problem, self.schedule, self.placement = problem, schedule, placement
        self.order: list[int] = []
        self.resident: dict[int, int] = {}
        self.copies = {a for a, backed in enumerate(problem.backed) if backed}
        self.seen: set[int] = set()  # were in fast memory at some time
        self.waiting: int | None = None  # an operator without room
        self.spilled = self.retrieved = self.first_loads = 0

    @property
    def stuck(self) -> bool:
        sizes = self.problem.sizes
        return any(
            sum(sizes[a] for a in self.problem.tensors(op)) > self.problem.capacity
            for op in range(len(self.problem.ops))
        )

    @property
    def done(self) -> bool:
        return self.stuck or len(self.order) == len(self.problem.ops)

    def readers_left(self, tensor: int) -> list[int]:
        return [
            op
            for op, (reads, _) in enumerate(self.problem.ops)
            if tensor in reads and op not in self.order
        ]

    def legal(self) -> tuple[list[int], list[int]]:
        """Operators that may be chosen, and tensors that may be evicted."""
        if self.done:
            return [], []
        if self.waiting is not None:
            return [], sorted(self.resident)
        if self.schedule == "fixed":
            return [len(self.order)], []
        return self.problem.ready(self.order), []

    def choose(self, op: int) -> None:
        self.waiting = op
        self._try_to_run()

    def evict(self, tensor: int) -> None:
        if tensor not in self.copies:
            self.spilled += self.problem.sizes[tensor]
            self.copies.add(tensor)
        del self.resident[tensor]
        self._try_to_run()

    def _try_to_run(self) -> None:
        op = self.waiting
        assert op is not None
        reads, makes = self.problem.ops[op]
        placed = self._room([a for a in (*reads, *makes) if a not in self.resident])
        if placed is None:
            return
        for a in reads:
            if a not in self.resident:
                if self.problem.backed[a] and a not in self.seen:
                    self.first_loads += self.problem.sizes[a]
                else:
                    self.retrieved += self.problem.sizes[a]
        self.resident = placed
        self.seen |= {*reads, *makes}
        self.order.append(op)
        self.waiting = None
        for a in list(self.resident):
            if not self.readers_left(a):
                del self.resident[a]

    def _room(self, entering: Sequence[int]) -> dict[int, int] | None:
        """What is resident with these, or None: largest first, each in the smallest hole, the
        lowest of equal ones.
        """
        sizes, capacity = self.problem.sizes, self.problem.capacity
        result = dict(self.resident)
        if self.placement == "bytes":
            result |= dict.fromkeys(entering, 0)
            return result if sum(sizes[a] for a in result) <= capacity else None
        for a in sorted(entering, key=lambda a: (-sizes[a], a)):
            taken = {cell for b, low in result.items() for cell in range(low, low + sizes[b])}
            holes = []
            for free, cells in itertools.groupby(
                range(capacity), key=lambda cell: cell not in taken
            ):
                hole = list(cells)
                if free and len(hole) >= sizes[a]:
                    holes.append((len(hole), hole[0]))
            if not holes:
                return None
            result[a] = min(holes)[1]
        return result

    def promised(self) -> int:
        """Bytes that must still be copied in again: seen before, not resident, still to be read."""
        return sum(
            self.problem.sizes[a]
            for a in self.seen
            if a not in self.resident and self.readers_left(a)
        )

    def traffic(self) -> int:
        """Spilled and retrieved so far, and what must still be retrieved."""
        return self.spilled + self.retrieved + self.promised()


# -------------------------------------------------------------------------------------------- rules


def next_use(sim: Simulator, tensor: int) -> int:
    return min(sim.readers_left(tensor), default=len(sim.problem.ops))


def belady(sim: Simulator) -> int:
    """The victim whose next reader comes last in the order given."""
    return max(sorted(sim.resident), key=lambda a: (next_use(sim, a), sim.problem.sizes[a]))


def greedy(sim: Simulator) -> int:
    """The victim that makes room at the least cost; inputs of the waiting operator last."""
    sizes, op = sim.problem.sizes, sim.waiting
    assert op is not None
    needed = {*sim.resident, *sim.problem.tensors(op)}
    missing = sum(sizes[a] for a in needed) - sim.problem.capacity
    others = [a for a in sorted(sim.resident) if a not in sim.problem.ops[op][0]]
    candidates = others or sorted(sim.resident)
    enough = [a for a in candidates if sizes[a] >= missing]
    if enough:
        return min(enough, key=lambda a: sizes[a] if a in sim.copies else 2 * sizes[a])
    copied = [a for a in candidates if a in sim.copies]
    if others:
        return max(copied or candidates, key=lambda a: sizes[a])
    return max(candidates, key=lambda a: sizes[a])


def growth(sim: Simulator, op: int) -> tuple[int, int]:
    """Bytes that do not fit with an operator beside what is resident, and by how much it adds to
    what is live.
    """
    sizes = sim.problem.sizes
    reads, makes = sim.problem.ops[op]
    used = sum(sizes[a] for a in {*sim.resident, *reads, *makes})
    after = {a for a in {*sim.resident, *reads, *makes} if set(sim.readers_left(a)) - {op}}
    return max(used - sim.problem.capacity, 0), sum(sizes[a] for a in after) - sum(
        sizes[a] for a in sim.resident
    )


def play(
    problem: Problem, schedule: str, placement: str, rule: str, order: Sequence[int] | None = None
) -> Simulator:
    """A whole episode of a rule; operators in `order`, by default the one given, or by `growth`
    with `lean`.
    """
    sim = Simulator(problem, schedule, placement)
    while not sim.done:
        if sim.waiting is not None:
            sim.evict(belady(sim) if rule == "belady" else greedy(sim))
        elif rule == "lean":
            sim.choose(min(sim.legal()[0], key=lambda op: (*growth(sim, op), op)))
        else:
            sim.choose(order[len(sim.order)] if order else min(sim.legal()[0]))
    return sim


# ------------------------------------------------------------------------------------------ optimum


def optimum(problem: Problem, schedule: str, placement: str) -> int | None:
    """The least traffic, by Dijkstra over (operators that ran, what is resident and where, copies,
    loaded).

    Between two operators any resident tensors may be copied out and any may leave; then the inputs
    that are missing enter at any free addresses. None where there is no plan. For a handful of
    operators and small sizes only.
    """
    start = (
        frozenset(),
        frozenset(),
        frozenset(a for a, b in enumerate(problem.backed) if b),
        frozenset(),
    )
    best, queue, count = {start: 0}, [(0, 0, start)], 0
    while queue:
        cost, _, state = heapq.heappop(queue)
        if cost > best[state]:
            continue
        done = state[0]
        if len(done) == len(problem.ops):
            return cost
        if schedule == "fixed":
            ready = [len(done)]
        else:
            ready = problem.ready(done)
        for op in ready:
            for price, after in _steps(problem, op, state, placement):
                if cost + price < best.get(after, cost + price + 1):
                    best[after] = cost + price
                    count += 1
                    heapq.heappush(queue, (cost + price, count, after))
    return None


def _steps(problem: Problem, op: int, state: tuple, placement: str) -> Iterator[tuple[int, tuple]]:
    done, resident, copies, loaded = state
    sizes = problem.sizes
    reads, makes = problem.ops[op]
    after_done = done | {op}
    for keep in _subsets(sorted(resident)):
        kept = {a for a, _ in keep}
        for spilled in _subsets([a for a, _ in sorted(resident) if a not in copies]):
            now_copies = copies | set(spilled)
            missing = [a for a in reads if a not in kept]
            if any(a not in now_copies for a in missing):
                continue
            price = sum(sizes[a] for a in spilled)
            price += sum(sizes[a] for a in missing if not problem.backed[a] or a in loaded)
            for where in _placements(problem, dict(keep), [*missing, *makes], placement):
                live = frozenset(
                    (a, low)
                    for a, low in where.items()
                    if any(a in r for o, (r, _) in enumerate(problem.ops) if o not in after_done)
                )
                yield price, (after_done, live, now_copies, loaded | set(missing))


def _subsets(items: list) -> Iterator[tuple]:
    for count in range(len(items) + 1):
        yield from itertools.combinations(items, count)


def _placements(
    problem: Problem, where: dict[int, int], entering: list[int], placement: str
) -> Iterator[dict[int, int]]:
    sizes, capacity = problem.sizes, problem.capacity
    if placement == "bytes":
        full = where | dict.fromkeys(entering, 0)
        if sum(sizes[a] for a in full) <= capacity:
            yield full
        return
    if not entering:
        yield where
        return
    a = entering[0]
    for low in range(capacity - sizes[a] + 1):
        if all(low + sizes[a] <= other or other + sizes[b] <= low for b, other in where.items()):
            yield from _placements(problem, where | {a: low}, entering[1:], placement)
