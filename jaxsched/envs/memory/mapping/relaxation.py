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

from jaxsched.envs.memory.mapping.replay import Problem
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
    model = cp_model.CpModel()
    supply, moves = _supply(problem), []
    rest: list[Any] = list(supply)  # of each instruction, after the accesses so far
    memory: list[Any] = [0] * len(supply)  # ticks of the accesses of each instruction
    held: list[list[Any]] = [[] for _ in supply]  # widths in fast memory
    values: dict[int, _Value] = {}
    groups: dict[int, Any] = {}

    def literal() -> Any:
        return model.new_bool_var("")

    def take(demand: int, slots: Sequence[int], on: Any) -> dict[int, Any]:
        """The demand where `on`, from instructions in this order, each used up before the next;
        which are begun.
        """
        begun: dict[int, Any] = {}
        if not demand:
            return begun
        amounts, before = [], None
        for at in slots:
            amounts.append(model.new_int_var(0, min(demand, supply[at]), ""))
            begun[at] = literal()
            model.add(amounts[-1] <= min(demand, supply[at]) * begun[at])
            model.add_implication(begun[at], on if before is None else begun[before])
            if before is not None:
                model.add(rest[before] == 0).only_enforce_if(begun[at])
            left = model.new_int_var(0, supply[at], "")
            model.add(left == rest[at] - amounts[-1])
            rest[at], before = left, at
        model.add(sum(amounts) == demand * on)
        return begun

    for use in problem.uses:
        if deadline.is_over():
            return None
        if use.value not in values:
            values[use.value] = _Value(0, [1] if use.value in problem.inputs else [])
        value = values[use.value]
        fast, there, stays, copied = literal(), literal(), 0, 0
        model.add_implication(fast, there)
        if use.group is not None:
            model.add(fast == groups.setdefault(use.group, fast))
        if use.is_write:
            model.add(there == fast)
            if use.is_output:
                model.add(fast == 0)
            value.valid, value.written, value.is_made = [fast.negated()], use.time + 1, True
        else:
            # It stays since its last access, through reads from slow memory too, or is copied in.
            stays, copied = literal(), literal()
            model.add(stays <= value.there)
            model.add(there == stays + copied)
            model.add_implication(copied, fast)
            model.add(copied <= sum(value.valid))
            begun = take(use.demand, range(use.time - 1, value.written - 1, -1), copied)
            for at, is_begun in begun.items():
                held[at].append(use.width * is_begun)
            for ended, first in value.ends:
                model.add(ended + begun.get(first - 1, copied if first > use.time else 0) <= 1)
            between = range(value.time + 1, use.time) if value.time >= 0 else ()
            pending = {}
            if value.is_made:
                # A slow read finds it in slow memory, or it is written back between the last access
                # and this one.
                back = literal()
                model.add(back <= value.there)
                model.add(fast + back <= 1)
                model.add(back + sum(value.valid) <= 1)
                model.add(fast + back + sum(value.valid) >= 1)
                pending = take(use.demand, between, back)
                value.valid = [*value.valid, back]
            for at in between:
                is_held = stays
                if at in pending:
                    is_held = literal()
                    model.add_implication(stays, is_held)
                    model.add_implication(pending[at], is_held)
                    value.ends.append((pending[at], at + 1))
                held[at].append(use.width * is_held)
        is_again = value.time == use.time  # counted already where it stays
        held[use.time].append(use.width * (there - stays if is_again else there))
        memory[use.time] += use.slow - (use.slow - use.fast) * fast
        value.ends.append((there, use.time + 1))
        value.time, value.there = use.time, there
        moves.append((fast, copied))

    elapsed = []
    for at, most in enumerate(supply):
        model.add(sum(held[at]) <= problem.capacity)
        elapsed.append(model.new_int_var(problem.compute[at], most, ""))
        model.add(elapsed[-1] >= memory[at])
    model.minimize(sum(elapsed))
    return model, moves


def _supply(problem: Problem) -> list[int]:
    """Ticks of each instruction with everything slow: what copies can take."""
    memory = [0] * len(problem.compute)
    for use in problem.uses:
        memory[use.time] += use.slow
    return [max(pair) for pair in zip(problem.compute, memory, strict=True)]
