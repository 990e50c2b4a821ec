"""A relaxation of memory mapping for CP-SAT: a bound on the latency of any mapping, and a plan to
start searches from.

All of the rules but the addresses: what is in fast memory at an instruction must fit by its width
only. So the bound may be below the optimum even when it is solved, and the actions of the plan may
find no room. The model is ours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxsched.envs.memory.mapping.replay import Problem, Use
from jaxsched.envs.memory.mapping.types import COPY, DROP, NOCOPY
from jaxsched.host.cpsat import Solver
from jaxsched.host.deadline import Deadline


class Relaxed(NamedTuple):
    """What CP-SAT found in its time."""

    bound: int  # no mapping is faster, in the ticks of the problem
    actions: list[int] | None  # of the fastest relaxed plan found, an action per access


@dataclasses.dataclass
class _Value:
    """What later accesses of a value need to know of its earlier ones."""

    written: int  # no copy begins before this instruction
    # at most one of these literals is true; where one is, slow memory has the value
    valid: list[Any]
    is_made: bool = False  # written, so that fast memory may have the only copy
    # where true, no copy begins before
    ends: list[tuple[Any, int]] = dataclasses.field(default_factory=list)
    time: int = -1  # of the last access
    there: Any = 0  # literal: in fast memory at the last access


def relax(
    problem: Problem, *, deadline: Deadline, num_workers: int | None = None, seed: int = 0
) -> Relaxed:
    """Solve the relaxation as far as the deadline allows, which the building of the model counts
    against.

    Raises `ImportError` without OR-Tools.
    """
    solver = Solver("the bound", deadline, num_workers, seed)
    built = relaxation(problem, solver.cp_model, deadline)
    if built is None:
        return Relaxed(0, None)
    model, moves = built
    bound = solver.solve(model, sum(problem.compute), sum(_supply(problem)))
    if not solver.found:
        return Relaxed(bound, None)
    is_fast = [[bool(solver.value(literal)) for literal in move] for move in moves]
    return Relaxed(
        bound, [COPY if copied else NOCOPY if fast else DROP for fast, copied in is_fast]
    )


def relaxation(
    problem: Problem, cp_model: Any, deadline: Deadline
) -> tuple[Any, list[tuple[Any, Any]]] | None:
    """The model, which minimises the latency, and two literals per access: it is fast, and by a
    copy.

    None where the deadline is met before the model is built.
    """
    relaxed = _Relaxation(problem, cp_model.CpModel())
    for use in problem.uses:
        if deadline.is_over():
            return None
        relaxed.add_access(use)
    relaxed.minimize_latency()
    return relaxed.model, relaxed.moves


class _Relaxation:
    """The model while it is built, access by access."""

    def __init__(self, problem: Problem, model: Any):
        self.problem, self.model = problem, model
        self.supply = _supply(problem)
        self.rest: list[Any] = list(self.supply)  # of each instruction, after the accesses so far
        self.memory: list[Any] = [0] * len(self.supply)  # ticks of each instruction's accesses
        self.held: list[list[Any]] = [[] for _ in self.supply]  # widths in fast memory
        self.values: dict[int, _Value] = {}
        self.groups: dict[int, Any] = {}
        self.moves: list[tuple[Any, Any]] = []  # per access: it is fast, and by a copy

    def _literal(self) -> Any:
        return self.model.new_bool_var("")

    def add_access(self, use: Use) -> None:
        """The next access in program order."""
        model = self.model
        if use.value not in self.values:
            is_input = use.value in self.problem.inputs
            self.values[use.value] = _Value(0, [1] if is_input else [])
        value = self.values[use.value]
        fast, there, stays, copied = self._literal(), self._literal(), 0, 0
        model.add_implication(fast, there)
        if use.group is not None:
            model.add(fast == self.groups.setdefault(use.group, fast))
        if use.is_write:
            model.add(there == fast)
            if use.is_output:
                model.add(fast == 0)
            value.valid, value.written, value.is_made = [fast.negated()], use.time + 1, True
        else:
            stays, copied = self._literal(), self._literal()
            model.add(stays <= value.there)
            model.add(there == stays + copied)
            model.add_implication(copied, fast)
            self._add_copy(use, value, copied)
            self._add_stay(use, value, fast, stays)
        is_again = value.time == use.time  # counted already where it stays
        self.held[use.time].append(use.width * (there - stays if is_again else there))
        self.memory[use.time] += use.slow - (use.slow - use.fast) * fast
        value.ends.append((there, use.time + 1))
        value.time, value.there = use.time, there
        self.moves.append((fast, copied))

    def _add_copy(self, use: Use, value: _Value, copied: Any) -> None:
        """It is copied in from slow memory, before its use and after what held it before."""
        self.model.add(copied <= sum(value.valid))
        begun = self._take(use.demand, range(use.time - 1, value.written - 1, -1), copied)
        for at, is_begun in begun.items():
            self.held[at].append(use.width * is_begun)
        for ended, first in value.ends:
            is_begun = begun.get(first - 1, copied if first > use.time else 0)
            self.model.add(ended + is_begun <= 1)

    def _add_stay(self, use: Use, value: _Value, fast: Any, stays: Any) -> None:
        """It stays since its last access, through reads from slow memory too, or until it is
        written back.
        """
        between = range(value.time + 1, use.time) if value.time >= 0 else range(0)
        pending = self._add_write_back(use, value, fast, between) if value.is_made else {}
        for at in between:
            is_held = stays
            if at in pending:
                is_held = self._literal()
                self.model.add_implication(stays, is_held)
                self.model.add_implication(pending[at], is_held)
                value.ends.append((pending[at], at + 1))
            self.held[at].append(use.width * is_held)

    def _add_write_back(
        self, use: Use, value: _Value, fast: Any, between: Sequence[int]
    ) -> dict[int, Any]:
        """A slow read finds it in slow memory, or it is written back between the last access and
        this one: in which instructions that is begun.
        """
        back = self._literal()
        self.model.add(back <= value.there)
        self.model.add(fast + back <= 1)
        self.model.add(back + sum(value.valid) <= 1)
        self.model.add(fast + back + sum(value.valid) >= 1)
        pending = self._take(use.demand, between, back)
        value.valid = [*value.valid, back]
        return pending

    def _take(self, demand: int, slots: Sequence[int], on: Any) -> dict[int, Any]:
        """The demand where `on`, from instructions in this order, each used up before the next;
        which are begun.
        """
        begun: dict[int, Any] = {}
        if not demand:
            return begun
        model, amounts, before = self.model, [], None
        for at in slots:
            most = min(demand, self.supply[at])
            amounts.append(model.new_int_var(0, most, ""))
            begun[at] = self._literal()
            model.add(amounts[-1] <= most * begun[at])
            model.add_implication(begun[at], on if before is None else begun[before])
            if before is not None:
                model.add(self.rest[before] == 0).only_enforce_if(begun[at])
            left = model.new_int_var(0, self.supply[at], "")
            model.add(left == self.rest[at] - amounts[-1])
            self.rest[at], before = left, at
        model.add(sum(amounts) == demand * on)
        return begun

    def minimize_latency(self) -> None:
        """After all accesses; what fast memory holds at an instruction fits."""
        elapsed = []
        for at, most in enumerate(self.supply):
            self.model.add(sum(self.held[at]) <= self.problem.capacity)
            elapsed.append(self.model.new_int_var(self.problem.compute[at], most, ""))
            self.model.add(elapsed[-1] >= self.memory[at])
        self.model.minimize(sum(elapsed))


def _supply(problem: Problem) -> list[int]:
    """Ticks of each instruction with everything slow: what copies can take."""
    memory = [0] * len(problem.compute)
    for use in problem.uses:
        memory[use.time] += use.slow
    return [max(pair) for pair in zip(problem.compute, memory, strict=True)]
