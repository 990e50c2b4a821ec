"""Mappings in plain Python, written from the statement of the problem, not from the rules.

`Replay` plays actions one after the other, in the units of the program however large, and says what
is wrong with one that is not legal. The judge, the heuristics of the host and the pictures use it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxsched.envs.memory.mapping.program import Program
from jaxsched.envs.memory.mapping.types import ACTIONS, COPY, DROP, NOCOPY, Instance


class Use(NamedTuple):
    """An access with all that counts of it; `group` is None without an alias group."""

    value: int
    time: int
    is_write: bool
    group: int | None
    is_output: bool
    slow: int
    fast: int
    demand: int
    width: int


class Problem(NamedTuple):
    """What a mapping is judged against."""

    uses: Sequence[Use]
    inputs: frozenset[int]
    compute: Sequence[int]
    capacity: int


class Block(NamedTuple):
    """Fast memory held from instruction `first` to `last`, both included, at `[low, high)`."""

    first: int
    last: int
    low: int
    high: int


class Effect(NamedTuple):
    """What a legal action does."""

    block: Block | None  # what it holds from now on
    offset: int | None  # where the access finds the value; None in slow memory
    taken: dict[int, int]  # supply by instruction
    in_slow: int | None  # first instruction that may read the value from slow memory


class Replay:
    """A mapping under construction: `effect` of an action at the current access, `take` it."""

    def __init__(self, problem: Problem):
        self.problem, self.position = problem, 0
        self.memory = [0] * len(problem.compute)
        for use in problem.uses:
            self.memory[use.time] += use.slow
        self.supply = [max(pair) for pair in zip(problem.compute, self.memory, strict=True)]
        self.baseline = self.latency = sum(self.supply)
        self.blocks: list[Block] = []
        self.home: dict[int, Block] = {}  # the latest block of each value
        self.in_slow: dict[int, int | None] = dict.fromkeys(problem.inputs, 0)
        self.groups: dict[int, int | None] = {}  # offset, None for slow memory
        # access, first instruction, deadline, ticks of supply
        self.copies: list[tuple[int, int, int, int]] = []

    @property
    def is_over(self) -> bool:
        """Every access is decided."""
        return self.position == len(self.problem.uses)

    def effects(self) -> dict[int, Effect]:
        """What each legal action would do; empty at the end and at a dead end."""
        found: dict[int, Effect] = {}
        if not self.is_over:
            for action in (COPY, NOCOPY, DROP):
                effect = self.effect(action)
                if isinstance(effect, Effect):
                    found[action] = effect
        return found

    def legal(self) -> list[int]:
        """Legal actions, ascending; none at the end and at a dead end."""
        return list(self.effects())

    def take(self, action: int) -> tuple[int, Effect]:
        """Take a legal action; returns the ticks saved and what it did.

        Raises `ValueError` with what forbids an illegal one.
        """
        if self.is_over:
            raise ValueError(f"all {self.position} accesses are decided already")
        effect = self.effect(action)
        if isinstance(effect, str):
            raise ValueError(f"access {self.position}: {effect}")
        return self.apply(action, effect), effect

    def apply(self, action: int, effect: Effect) -> int:
        """Take an action that has this `effect` now; returns the ticks saved."""
        use = self.problem.uses[self.position]
        if effect.block is not None:
            self.blocks.append(effect.block)
            self.home[use.value] = effect.block
        for at, amount in effect.taken.items():
            self.supply[at] -= amount
        if effect.taken:
            # A copy lasts until its use, a write-back until the address may be given to others.
            deadline = use.time if action == COPY else max(effect.taken) + 1
            self.copies.append((self.position, min(effect.taken), deadline, use.demand))
        self.in_slow[use.value] = effect.in_slow
        if use.group is not None:
            self.groups.setdefault(use.group, effect.offset)
        before = self._elapsed(use.time)
        if action != DROP:
            self.memory[use.time] -= use.slow - use.fast
        saved = before - self._elapsed(use.time)
        self.latency -= saved
        self.position += 1
        return saved

    def effect(self, action: int) -> Effect | str:
        """What the action would do, or why it is not legal."""
        use = self.problem.uses[self.position]
        if action not in (COPY, NOCOPY, DROP):
            return f"unknown action {action!r}; known: 0 COPY, 1 NOCOPY, 2 DROP"
        bound = None
        if use.group in self.groups:
            bound = self.groups[use.group]
            if (bound is None) != (action == DROP):
                where = "slow memory" if bound is None else f"offset {bound}"
                return f"{ACTIONS[action]}: its alias group is bound to {where}"
        if action == COPY:
            return self._copy(use, bound)
        if action == NOCOPY:
            return self._write_fast(use, bound) if use.is_write else self._stay(use, bound)
        if use.is_write:
            return Effect(None, None, {}, use.time + 1)
        return self._read_slow(use)

    def _elapsed(self, time: int) -> int:
        return max(self.problem.compute[time], self.memory[time])

    def _copy(self, use: Use, bound: int | None) -> Effect | str:
        ready, home = self.in_slow.get(use.value), self.home.get(use.value)
        if use.is_write:
            return "COPY: a write is not copied"
        if ready is None:
            return "COPY: slow memory has no valid copy"
        if home is not None and home.last == use.time:
            return "COPY: the value is in fast memory already"
        earliest = ready if home is None else max(ready, home.last + 1)
        taken = self._gather(use, reversed(range(earliest, use.time)))
        if taken is None:
            return f"COPY: too little supply in instructions {earliest} to {use.time - 1} for {use.demand}"
        return self._place("COPY", use, min(taken, default=use.time), taken, ready, bound)

    def _write_fast(self, use: Use, bound: int | None) -> Effect | str:
        if use.is_output:
            return "NOCOPY: an output is written to slow memory"
        return self._place("NOCOPY", use, use.time, {}, None, bound)

    def _place(
        self, name: str, use: Use, first: int, taken: dict, ready: int | None, bound: int | None
    ):
        low = self._address(first, use.time, use.width) if bound is None else bound
        if (
            low is None
            or low + use.width > self.problem.capacity
            or not self.is_free(first, use.time, low, use.width)
        ):
            where = "no gap" if bound is None else f"the group's offset {bound} is not free"
            return f"{name}: {where} for {use.width} in instructions {first} to {use.time}"
        return Effect(Block(first, use.time, low, low + use.width), low, taken, ready)

    def _stay(self, use: Use, bound: int | None) -> Effect | str:
        home = self.home.get(use.value)
        if home is None:
            return "NOCOPY: the value was never in fast memory"
        if bound is not None and bound != home.low:
            return f"NOCOPY: the value is at {home.low}, its alias group at {bound}"
        ready = self.in_slow.get(use.value)
        if home.last == use.time:
            return Effect(None, home.low, {}, ready)
        if not self.is_free(home.last + 1, use.time, home.low, use.width):
            return f"NOCOPY: offset {home.low} is not free in instructions {home.last + 1} to {use.time}"
        return Effect(Block(home.last + 1, use.time, home.low, home.high), home.low, {}, ready)

    def _read_slow(self, use: Use) -> Effect | str:
        ready = self.in_slow.get(use.value)
        if ready is not None:
            return Effect(None, None, {}, ready)
        home = self.home[use.value]
        taken = self._gather(use, range(home.last + 1, use.time))
        if taken is None or home.last == use.time:
            return f"DROP: too little supply in instructions {home.last + 1} to {use.time - 1} for {use.demand}"
        if not taken:
            return Effect(None, None, taken, home.last + 1)
        last = max(taken)
        if not self.is_free(home.last + 1, last, home.low, use.width):
            return f"DROP: offset {home.low} is not free in instructions {home.last + 1} to {last}"
        return Effect(Block(home.last + 1, last, home.low, home.high), None, taken, last + 1)

    def _gather(self, use: Use, instructions: Iterable[int]) -> dict[int, int] | None:
        """Supply taken in this order until the demand is met, or None."""
        taken, left = {}, use.demand
        for at in instructions:
            if left == 0:
                break
            if self.supply[at] > 0:
                taken[at] = min(left, self.supply[at])
                left -= taken[at]
        return taken if left == 0 else None

    def _in_the_way(self, first: int, last: int) -> list[Block]:
        return [block for block in self.blocks if block.first <= last and block.last >= first]

    def is_free(self, first: int, last: int, low: int, width: int) -> bool:
        """Whether `[low, low + width)` is free in instructions `first` to `last`, both included."""
        return all(
            block.high <= low or low + width <= block.low for block in self._in_the_way(first, last)
        )

    def _address(self, first: int, last: int, width: int) -> int | None:
        """Best fit: the start of the smallest gap that holds `width`, the lowest of equal ones."""
        best, floor = None, 0
        blocks = sorted((block.low, block.high) for block in self._in_the_way(first, last))
        for low, high in [*blocks, (self.problem.capacity, self.problem.capacity)]:
            if low - floor >= width and (best is None or low - floor < best[0]):
                best = low - floor, floor
            floor = max(floor, high)
        return None if best is None else best[1]


def problem_of(program: Program) -> Problem:
    """The program in its own units."""
    uses = []
    for access in program.accesses:
        size, is_output = program.size[access.value], program.is_output[access.value]
        slow, fast, demand = (
            size * cost for cost in (program.slow_cost, program.fast_cost, program.copy_cost)
        )
        uses.append(Use(*access, is_output, slow, fast, demand, program.width(access.value)))
    inputs = frozenset(i for i, is_input in enumerate(program.is_input) if is_input)
    return Problem(uses, inputs, program.compute, program.capacity)


class NamedProblem(NamedTuple):
    """A problem, and what its values and instructions are called."""

    problem: Problem
    value_ids: Sequence[Hashable]
    instruction_ids: Sequence[Any]


def named_problem(program: Program | Instance) -> NamedProblem:
    """A program in its own units, or an instance in its units, where positions are the names."""
    if isinstance(program, Program):
        return NamedProblem(problem_of(program), program.value_ids, program.instruction_ids)
    problem = problem_of_instance(program)
    return NamedProblem(problem, range(program.num_values), range(len(problem.compute)))


def problem_of_instance(instance: Instance) -> Problem:
    """The problem of an instance, in its units; padding is dropped."""
    real, columns = int(np.asarray(instance.access_mask).sum()), []
    for name in Use._fields:
        field = "leader" if name == "group" else name
        columns.append(np.asarray(getattr(instance, field))[:real].tolist())
    uses = [Use(*row) for row in zip(*columns, strict=True)]
    inputs = frozenset(np.flatnonzero(np.asarray(instance.is_input)).tolist())
    compute = np.asarray(instance.compute)[np.asarray(instance.instruction_mask)].tolist()
    return Problem(uses, inputs, compute, int(instance.capacity))
