"""Exhaustive search over all sequences of legal actions of small instances."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import random

from jaxsched.core import Environment
from jaxsched.core.environment import Instance
from jaxsched.testing.expect import expect
from jaxsched.testing.play import bits, on_host

SEARCH_CHUNK, SEARCH_LIMIT = 512, 200_000  # states expanded at once, and kept at most


def exhaustive_search(env: Environment, exact: Sequence[tuple[Instance, int]]) -> list[float]:
    """Best objective within reach per instance, infinite where the running bound excludes the
    optimum everywhere.
    """
    instances = jax.tree.map(
        lambda *leaves: jnp.stack(leaves), *(instance for instance, _ in exact)
    )
    optima = np.array([best for _, best in exact])
    key, num_steps = random.key(0), env.max_steps(exact[0][0])

    def judge(state):
        solved = env.terminated(state) & env.feasible(state)
        return env.bound(state), env.objective(state), state.done, solved, env.feasible(state)

    @jax.jit
    @jax.vmap
    def start(instance):
        state, _ = env.reset(key, instance)
        return state, jnp.zeros((), jnp.bool_), *judge(state)

    @jax.jit
    @jax.vmap
    def expand(state):
        def child(action):
            after, step = env.step(key, state, action)
            return after, step.metrics["illegal"], *judge(after)

        return jax.vmap(child)(jnp.arange(env.action_mask(state).shape[0], dtype=jnp.int32))

    reached, ids = np.full(len(exact), np.inf), np.arange(len(exact))

    def prune(found, ids):
        """Record the finished states, keep the promising ones."""
        states, illegal, bound, objective, done, solved, feasible = found
        keep = ~illegal & feasible & (env.improves | (bound <= optima[ids]))
        np.minimum.at(reached, ids[keep & solved], objective[keep & solved])
        chosen = np.flatnonzero(keep & ~done)
        return jax.tree.map(lambda leaf: leaf[chosen], states), ids[chosen]

    frontier, ids = prune(on_host(start(instances)), ids)
    for _ in range(num_steps if len(ids) else 0):
        layers = []
        for first in range(0, len(ids), SEARCH_CHUNK):
            # the last one fills the chunk
            rows = np.minimum(np.arange(first, first + SEARCH_CHUNK), len(ids) - 1)
            found = on_host(expand(jax.tree.map(lambda leaf, rows=rows: leaf[rows], frontier)))
            num_actions = found[1].shape[1]
            flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), found)
            layers.append(prune(flat, np.repeat(ids[rows], num_actions)))
        frontier = jax.tree.map(
            lambda *leaves: np.concatenate(leaves), *(states for states, _ in layers)
        )
        ids = np.concatenate([part for _, part in layers])
        if not len(ids):
            break
        columns = [
            np.asarray(bits(leaf)).reshape(len(ids), -1)
            for leaf in (ids, *jax.tree.leaves(frontier))
        ]
        _, unique = np.unique(
            np.concatenate([column.astype(np.int64) for column in columns], 1),
            return_index=True,
            axis=0,
        )
        frontier, ids = (
            jax.tree.map(lambda leaf, unique=unique: leaf[unique], frontier),
            ids[unique],
        )
        expect(
            len(ids) <= SEARCH_LIMIT,
            f"exhaustive search met {len(ids)} states at once: pass smaller instances",
        )
    return reached.tolist()
