"""Search over the actions of a program, on the device level by level.

`search` keeps a set of partial mappings, all at the same access. It tries every legal action of
each and drops those that can no longer beat the best complete mapping (`rules.optimistic`). The
optimum of memory mapping is defined as the best that actions reach, so it is proved where all
others found room; else the most promising ones are kept.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched.envs.memory.mapping import rules
from jaxsched.envs.memory.mapping.play import Mapped, lower_bound
from jaxsched.envs.memory.mapping.replay import problem_of_instance
from jaxsched.envs.memory.mapping.settings import Settings
from jaxsched.envs.memory.mapping.types import Instance, State
from jaxsched.host.deadline import Deadline

CHUNK = 256  # partial mappings expanded at once
MAX_CELLS = 2**26  # numbers in all partial mappings kept


def search(instance: Instance, best: Mapped, *, deadline: Deadline) -> tuple[Mapped, int]:
    """The best mapping found, `best` where none is faster, and a lower bound on the optimum.

    The bound is the latency of the mapping where it is proved best: where all partial mappings that
    may beat the best found their place in memory, and the deadline was not met.
    """
    lower = lower_bound(problem_of_instance(instance))
    if best.latency > lower:
        cells = 5 * instance.num_accesses + 4 * instance.num_instructions
        best, complete = _sweep(instance, best, max(MAX_CELLS // cells, CHUNK), deadline)
        lower = best.latency if complete else lower
    return best, lower


def _sweep(instance: Instance, best: Mapped, width: int, deadline: Deadline) -> tuple[Mapped, bool]:
    """One pass with at most `width` partial mappings per level.

    Returns the best mapping, and whether nothing was left out.
    """
    frontier = jax.tree.map(
        lambda leaf: np.asarray(leaf)[None], jax.device_get(_bare(_init(instance)))
    )
    num_accesses = int(np.asarray(instance.access_mask).sum())
    complete = True
    for _ in range(num_accesses):
        num = len(frontier.position)
        children, keys = [], []
        for first in range(0, num, CHUNK):
            if deadline.is_over():
                return best, False
            # the last one fills the chunk
            rows = np.minimum(np.arange(first, first + CHUNK), num - 1)
            found, legal, hope = jax.device_get(_expand(instance, _rows(frontier, rows)))
            real = np.arange(CHUNK)[:, None] < num - first
            which = np.flatnonzero((legal & real & (hope < best.latency)).ravel())
            children.append(
                jax.tree.map(
                    lambda leaf, which=which: leaf.reshape(-1, *leaf.shape[2:])[which], found
                )
            )
            keys.append(hope.ravel()[which])
        frontier = jax.tree.map(lambda *leaves: np.concatenate(leaves), *children)
        key = np.concatenate(keys)
        ended = ~frontier.choices.legal.any(-1)
        finished = np.flatnonzero(ended & ~frontier.dead)
        if finished.size:
            winner = finished[np.argmin(frontier.latency[finished])]
            if frontier.latency[winner] < best.latency:
                actions = frontier.action[winner][:num_accesses].tolist()
                best = Mapped(actions, int(frontier.latency[winner]))
        # Half of what can still be saved is counted as saved.
        alive = np.flatnonzero(~ended & (key < best.latency))
        if alive.size > width:
            promise = key[alive].astype(np.int64) + frontier.latency[alive]
            alive, complete = alive[np.argpartition(promise, width)[:width]], False
        if not alive.size:
            break
        frontier = _rows(frontier, alive)
    return best, complete


def _rows(tree: Any, index: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _bare(state: State) -> State:
    return state.replace(instance=None)


@jax.jit
def _init(instance: Instance) -> State:
    return rules.init(instance, Settings())


@jax.jit
def _expand(instance: Instance, states: State):
    """All three actions of [CHUNK] states: the states after [CHUNK, 3], whether legal, and how fast
    they may get.
    """

    def child(state, action):
        state = state.replace(instance=instance)
        after = rules.apply(state, Settings(), action, state.choices.legal[action])
        return _bare(after), state.choices.legal[action] & ~after.dead, rules.optimistic(after)

    actions = jnp.arange(3, dtype=jnp.int32)
    return jax.vmap(lambda state: jax.vmap(functools.partial(child, state))(actions))(states)
