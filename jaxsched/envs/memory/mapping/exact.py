"""Search over the actions of a program, on the device level by level, and a bound by CP-SAT.

`search` keeps a set of partial mappings, all at the same access. It tries every legal action of each and drops those
that can no longer beat the best complete mapping (`rules.optimistic`). The optimum of memory mapping is defined as the
best that actions reach, so it is proved where all others found room; else the most promising ones are kept.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched.core.cpsat import Solver
from jaxsched.envs.memory.mapping import rules as rules
from jaxsched.envs.memory.mapping.types import MapInstance, MapState, Program
from jaxsched.envs.memory.mapping.validate import Use, problem_of, problem_of_instance

CHUNK = 256  # partial mappings expanded at once
MAX_CELLS = 2**26  # numbers in all partial mappings kept


def search(instance: MapInstance, starts: Sequence[MapState], *, deadline: float) -> tuple[MapState, int]:
    """The best mapping found, at least as good as each of `starts`, and a lower bound on the optimum.

    The bound is the latency of the mapping where it is proved best: where all partial mappings that may beat the best
    found their place in memory, and `deadline`, a time of `time.perf_counter`, was not met.
    """
    starts = [jax.device_get(state) for state in starts if not state.dead]
    best = min(starts, key=lambda state: int(state.latency))
    lower = int(_lower_bound(instance))
    if int(best.latency) > lower:
        most = max(MAX_CELLS // (5 * instance.num_accesses + 4 * instance.num_instructions), CHUNK)
        best, complete = _sweep(instance, best, most, deadline)
        lower = int(best.latency) if complete else lower
    return best, lower


def _sweep(instance: MapInstance, best: MapState, width: int, deadline: float) -> tuple[MapState, bool]:
    """One pass with at most `width` partial mappings per level: the best mapping, and whether nothing was left out."""
    frontier = jax.tree.map(lambda leaf: np.asarray(leaf)[None], jax.device_get(_bare(_init(instance))))
    complete = True
    for _ in range(int(np.asarray(instance.access_mask).sum())):
        num = len(frontier.position)
        children, keys = [], []
        for first in range(0, num, CHUNK):
            if time.perf_counter() > deadline:
                return best, False
            rows = np.minimum(np.arange(first, first + CHUNK), num - 1)  # the last one fills the chunk
            found, legal, hope = jax.device_get(_expand(instance, _rows(frontier, rows)))
            real = np.arange(CHUNK)[:, None] < num - first
            good = legal & real & (hope < int(best.latency))
            which = np.flatnonzero(good.ravel())
            children.append(jax.tree.map(lambda leaf, which=which: leaf.reshape(-1, *leaf.shape[2:])[which], found))
            keys.append(hope.ravel()[which])
        frontier = jax.tree.map(lambda *leaves: np.concatenate(leaves), *children)
        key = np.concatenate(keys)
        ended = ~frontier.choices.legal.any(-1)
        finished = np.flatnonzero(ended & ~frontier.dead)
        if finished.size:
            winner = finished[np.argmin(frontier.latency[finished])]
            if frontier.latency[winner] < best.latency:
                best = _rows(frontier, winner).replace(instance=best.instance)
        # Half of what can still be saved is counted as saved.
        alive = np.flatnonzero(~ended & (key < int(best.latency)))
        if alive.size > width:
            promise = key[alive].astype(np.int64) + frontier.latency[alive]
            alive, complete = alive[np.argpartition(promise, width)[:width]], False
        if not alive.size:
            break
        frontier = _rows(frontier, alive)
    return best, complete


def _rows(tree: Any, index: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _bare(state: MapState) -> MapState:
    return state.replace(instance=None)


_init = jax.jit(rules.init)
_lower_bound = jax.jit(rules.lower_bound)


@jax.jit
def _expand(instance: MapInstance, states: MapState):
    """All three actions of [CHUNK] states: the states after [CHUNK, 3], whether legal, and how fast they may get."""

    def child(state, action):
        state = state.replace(instance=instance)
        after = rules.apply(state, action, state.choices.legal[action])
        return _bare(after), state.choices.legal[action] & ~after.dead, rules.optimistic(after)

    actions = jnp.arange(3, dtype=jnp.int32)
    return jax.vmap(lambda state: jax.vmap(functools.partial(child, state))(actions))(states)


def solver_bound(
    program: Program | MapInstance, *, time_limit: float = 60.0, num_workers: int | None = None, seed: int = 0
) -> int:
    """A lower bound on the latency of any mapping, in the ticks of the program or instance, by CP-SAT.

    A relaxation with free addresses: what is in fast memory at an instruction must fit by width only, copies and
    write-backs may take supply from any instruction since the value was written, and a value that is written back may
    have left fast memory. So it may be below the optimum even when it is solved. Raises `ImportError` without OR-Tools.
    """
    solver = Solver("the bound", max(time_limit, 0.01), num_workers, seed)
    problem = problem_of(program) if isinstance(program, Program) else problem_of_instance(program)
    model, num = solver.cp_model.CpModel(), len(problem.compute)
    memory = [0] * num
    for use in problem.uses:
        memory[use.time] += use.slow
    supply = [max(pair) for pair in zip(problem.compute, memory, strict=True)]
    taken, saved, held = ([[] for _ in range(num)] for _ in range(3))
    groups: dict[int, Any] = {}
    for value in {use.value: None for use in problem.uses}:
        uses = [use for use in problem.uses if use.value == value]
        born = uses[0].time + 1 if uses[0].is_write else 0
        there = [model.new_bool_var("") for _ in range(num)]  # in fast memory at each instruction
        for at, is_there in enumerate(there):
            held[at].append(uses[0].width * is_there)

        def transfer(use: Use, on: Any, born: int = born) -> list[Any]:
            """Takes the demand of a copy where `on`; the instructions that it takes from, as booleans."""
            parts, some = [], []
            for at in range(born, use.time):
                most = min(use.demand, supply[at])
                parts.append(model.new_int_var(0, most, ""))
                some.append(model.new_bool_var(""))
                model.add(parts[-1] <= most * some[-1])
                taken[at].append(parts[-1])
            model.add(sum(parts) >= use.demand * on)
            return some

        before, fast_before, kept_before, valid = born, 0, 0, [0 if uses[0].is_write else 1]
        for use in uses:
            fast, copied, kept, back = (model.new_bool_var("") for _ in range(4))
            saved[use.time].append((use.slow - use.fast) * fast)
            model.add_implication(fast, there[use.time])
            if use.group is not None:
                model.add(fast == groups.setdefault(use.group, fast))
            if use.is_write:
                model.add(copied + kept + back == 0)
                if use.is_output:
                    model.add(fast == 0)
                valid = [1 - fast]
            else:
                # It stays since its last access, through reads from slow memory too, or is copied in.
                model.add(kept <= fast_before + kept_before)
                model.add(fast <= copied + kept)
                for at in range(before, use.time + 1):
                    model.add_implication(kept, there[at])
                model.add(copied <= sum(valid))
                holds = [model.new_bool_var("") for _ in range(born, use.time)]
                for k, some in enumerate(transfer(use, copied)):
                    model.add_implication(some, holds[k])
                    model.add_implication(holds[k], there[born + k])
                    if k:
                        model.add_implication(holds[k - 1], holds[k])
                # Slow memory has it, or it is written back before it is read there.
                transfer(use, back)
                model.add(fast + back + sum(valid) >= 1)
                valid = [*valid, back]
            before, fast_before, kept_before = use.time + 1, fast, kept
    elapsed = []
    for at in range(num):
        model.add(sum(taken[at]) <= supply[at])
        model.add(sum(held[at]) <= problem.capacity)
        elapsed.append(model.new_int_var(problem.compute[at], supply[at], ""))
        model.add(elapsed[-1] >= memory[at] - sum(saved[at]))
    model.minimize(sum(elapsed))
    return solver.solve(model, sum(problem.compute), sum(supply))
