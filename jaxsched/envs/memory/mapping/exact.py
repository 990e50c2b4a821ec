"""Search over the actions of a program, on the device level by level.

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

from jaxsched.envs.memory.mapping import rules as rules
from jaxsched.envs.memory.mapping.types import MapInstance, MapState

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
