"""Heuristics of memory mapping on the host, with drop-backup, and the bound that needs no solver.

They play the rules of `heuristics.py` and mend dead ends as `backup.py` does, with equal results,
in plain Python: a program of some hundred accesses is mapped before JAX has compiled anything.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jaxsched.envs.memory.mapping.replay import Effect, Problem, Replay
from jaxsched.envs.memory.mapping.types import COPY, DROP, NEVER, NOCOPY
from jaxsched.host.deadline import Deadline

Rule = Callable[[Replay], tuple[int, int, int]]  # the actions at the current access, the best first

KEEP_OR_COPY = NOCOPY, COPY, DROP
KEEP_OR_DROP = NOCOPY, DROP, COPY
SLOW = DROP, NOCOPY, COPY


class Mapped(NamedTuple):
    """A mapping whose accesses are all decided, or that ended where no action is legal."""

    actions: Sequence[int]
    latency: int  # ticks; at a dead end those with everything slow
    is_dead: bool = False


def all_slow(problem: Problem) -> Mapped:
    """Every access in slow memory, which is always legal."""
    return Mapped([DROP] * len(problem.uses), Replay(problem).baseline)


def replayed(problem: Problem, actions: Sequence[int]) -> Mapped:
    """The mapping of legal actions, one per access."""
    replay = Replay(problem)
    for action in actions:
        replay.take(action)
    return Mapped([int(action) for action in actions], replay.latency)


def play(problem: Problem, rule: Rule, *, backup: bool, deadline: Deadline) -> Mapped | None:
    """The mapping that takes the first legal action of `rule` at every access; None where time was
    up.

    A dead end is the end of it, or with `backup` it goes on as `backup.py` says.
    """
    first_of_value: dict[int, int] = {}
    first_of_group: dict[int | None, int] = {}
    for access, use in enumerate(problem.uses):
        first_of_value.setdefault(use.value, access)
        first_of_group.setdefault(access if use.group is None else -1 - use.group, access)
    replay, actions, effects = Replay(problem), list[int](), list[Effect]()
    forced: set[int] = set()  # accesses at which only DROP may be taken
    old: list[int] = []  # actions before the dead end, which are taken again as far as they go
    while not replay.is_over:
        if deadline.is_over():
            return None
        at, legal = replay.position, replay.effects()
        if at in forced:
            legal = {action: effect for action, effect in legal.items() if action == DROP}
        if legal:
            order = (old[at], *SLOW) if at < len(old) else rule(replay)
            action = next(action for action in order if action in legal)
            replay.apply(action, legal[action])
            actions.append(action)
            effects.append(legal[action])
            continue
        if not backup:
            return Mapped(actions, replay.baseline, is_dead=True)
        old = actions if at >= len(old) else old
        use = problem.uses[at]
        leader = at if use.group is None else first_of_group[-1 - use.group]
        access = first_of_value[use.value] if leader == at or leader in forced else leader
        forced.add(access)
        actions, effects, replay = actions[:access], effects[:access], Replay(problem)
        for action, effect in zip(actions, effects, strict=True):
            replay.apply(action, effect)
    return Mapped(actions, replay.latency)


# ------------------------------------------------------------------------------------------- rules


def follow(actions: Sequence[int]) -> Rule:
    """`actions`, one per access, where they are legal, else as `greedy` does."""
    return lambda replay: (actions[replay.position], *KEEP_OR_COPY)  # pyright: ignore


def belady(problem: Problem) -> Rule:
    """What is there stays; others come in where they take the place of no value that is needed
    sooner.
    """
    accesses: dict[int, list[int]] = {}
    for access, use in enumerate(problem.uses):
        accesses.setdefault(use.value, []).append(access)

    def next_use(value: int, access: int) -> int:
        """The instruction of the first access of a value from `access` on, NEVER where there is
        none.
        """
        mine = accesses[value]
        k = bisect.bisect_left(mine, access)
        return problem.uses[mine[k]].time if k < len(mine) else NEVER

    def rule(replay: Replay) -> tuple[int, int, int]:
        at = replay.position
        use = problem.uses[at]
        effect = replay.effect(NOCOPY if use.is_write else COPY)
        worth = True
        if isinstance(effect, Effect) and effect.block is not None:
            mine = next_use(use.value, at + 1)
            for value, home in replay.home.items():
                beside = (
                    value == use.value
                    or home.low >= effect.block.high
                    or effect.block.low >= home.high
                )
                needed = NEVER if beside else next_use(value, at)
                if needed < NEVER and replay.is_free(
                    home.last + 1, use.time, home.low, home.high - home.low
                ):
                    worth &= replay.in_slow[value] is not None and needed > mine
        if use.is_write:
            return KEEP_OR_COPY if worth else SLOW
        return KEEP_OR_COPY if worth else KEEP_OR_DROP

    return rule


def msa(problem: Problem) -> Rule:
    """The plan of `heuristics.msa_plan`, after XLA's memory space assignment."""
    wanted = msa_plan(problem)
    return lambda replay: KEEP_OR_COPY if wanted[replay.position] else SLOW


def msa_plan(problem: Problem) -> list[bool]:
    """The accesses that should be fast, as `heuristics.msa_plan` says it."""
    uses, memory = problem.uses, _slow_times(problem)
    members: dict[int, list[int]] = {}
    for access, can in enumerate(attainable(problem)):
        if can:
            members.setdefault(uses[access].value, []).append(access)
    benefit: dict[int, int] = {}
    for value, mine in members.items():
        benefit[value] = 0
        for access in mine:
            use = uses[access]
            compute, slow = problem.compute[use.time], memory[use.time]
            benefit[value] += max(compute, slow) - max(compute, slow - use.slow + use.fast)

    def worth(value: int) -> np.float32:
        width = uses[members[value][0]].width
        return -np.float32(benefit[value]) / np.sqrt(np.float32(max(width, 1)))

    left, wanted = [problem.capacity] * len(problem.compute), [False] * len(uses)
    for value in sorted(sorted(members), key=worth):
        mine, width = members[value], uses[members[value][0]].width
        held = range(uses[mine[0]].time, uses[mine[-1]].time + 1)
        if benefit[value] <= 0:
            continue
        # reads for themselves, with what is before for the copy
        if any(left[time] < width for time in held):
            fits = {time for time in held if min(left[time], left[max(time - 1, 0)]) >= width}
            mine = [
                access for access in mine if not uses[access].is_write and uses[access].time in fits
            ]
            reads = {uses[access].time for access in mine}
            held = reads | {time - 1 for time in reads if time > 0}
        for time in held:
            left[time] -= width
        for access in mine:
            wanted[access] = True
    return wanted


RULES: dict[str, Callable[[Problem], Rule]] = {
    "all_drop": lambda problem: lambda replay: SLOW,
    "greedy": lambda problem: lambda replay: KEEP_OR_COPY,
    "greedy_copy": lambda problem: lambda replay: (COPY, NOCOPY, DROP),
    "greedy_keep": lambda problem: lambda replay: KEEP_OR_DROP,
    "belady": belady,
    "msa": msa,
}


# ------------------------------------------------------------------------------------------ bounds


def lower_bound(problem: Problem) -> int:
    """Ticks of the program with every access fast that can be, whatever that does to the others."""
    memory = _slow_times(problem)
    for use, can in zip(problem.uses, attainable(problem), strict=True):
        memory[use.time] -= can * (use.slow - use.fast)
    return sum(map(max, problem.compute, memory))


def attainable(problem: Problem) -> list[bool]:
    """The accesses that some mapping has fast, as `rules.attainable` says it."""
    written = {use.value: use.time + 1 for use in problem.uses if use.is_write}
    passed = [0]
    for elapsed in map(max, problem.compute, _slow_times(problem)):
        passed.append(passed[-1] + elapsed)
    found = []
    for use in problem.uses:
        by_copy = use.is_output or use.value not in written
        is_late = passed[use.time] - passed[written.get(use.value, 0)] < use.demand
        is_slow = use.width > problem.capacity or (use.is_write and use.is_output)
        found.append(not is_slow and not (by_copy and is_late))
    return found


def _slow_times(problem: Problem) -> list[int]:
    """Ticks that the accesses of each instruction take from slow memory."""
    memory = [0] * len(problem.compute)
    for use in problem.uses:
        memory[use.time] += use.slow
    return memory
