"""Exhaustive search over all sequences of legal actions of small instances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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
    start, expand = _programs(env)
    reached = np.full(len(exact), np.inf)

    def prune(found: _Found, ids: np.ndarray) -> tuple[Any, np.ndarray]:
        """Record the finished states, keep the promising ones."""
        keep = ~found.illegal & found.feasible & (env.improves | (found.bound <= optima[ids]))
        solved = keep & found.solved
        np.minimum.at(reached, ids[solved], found.objective[solved])
        chosen = np.flatnonzero(keep & ~found.done)
        return jax.tree.map(lambda leaf: leaf[chosen], found.state), ids[chosen]

    frontier, ids = prune(on_host(start(instances)), np.arange(len(exact)))
    for _ in range(env.max_steps(exact[0][0])):
        if not len(ids):
            break
        frontier, ids = _distinct(frontier, ids)
        expect(
            len(ids) <= SEARCH_LIMIT,
            f"exhaustive search met {len(ids)} states at once: pass smaller instances",
        )
        layers = []
        for first in range(0, len(ids), SEARCH_CHUNK):
            # the last one fills the chunk
            rows = np.minimum(np.arange(first, first + SEARCH_CHUNK), len(ids) - 1)
            found = on_host(expand(jax.tree.map(lambda leaf, rows=rows: leaf[rows], frontier)))
            num_actions = found.illegal.shape[1]
            flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), found)
            layers.append(prune(flat, np.repeat(ids[rows], num_actions)))
        frontier = jax.tree.map(
            lambda *leaves: np.concatenate(leaves), *(states for states, _ in layers)
        )
        ids = np.concatenate([part for _, part in layers])
    return reached.tolist()


class _Found(NamedTuple):
    """States that were met, and what is to be known of them."""

    state: Any
    illegal: Any  # bool  the action that led here was not legal
    bound: Any  # i32
    objective: Any  # i32
    done: Any  # bool
    solved: Any  # bool  terminated with a solution
    feasible: Any  # bool


def _programs(env: Environment) -> tuple[Callable, Callable]:
    """`_Found` of instances, and of all actions in states; both for batches."""
    key = random.key(0)

    def judge(state, illegal):
        feasible, bound, objective = env.feasible(state), env.bound(state), env.objective(state)
        solved = env.terminated(state) & feasible
        return _Found(state, illegal, bound, objective, state.done, solved, feasible)

    @jax.jit
    @jax.vmap
    def start(instance):
        state, _ = env.reset(key, instance)
        return judge(state, jnp.zeros((), jnp.bool_))

    @jax.jit
    @jax.vmap
    def expand(state):
        def child(action):
            after, step = env.step(key, state, action)
            return judge(after, step.metrics["illegal"])

        return jax.vmap(child)(jnp.arange(env.action_mask(state).shape[0], dtype=jnp.int32))

    return start, expand


def _distinct(states: Any, ids: np.ndarray) -> tuple[Any, np.ndarray]:
    """Each state of an instance once."""
    columns = [np.asarray(bits(leaf)).reshape(len(ids), -1) for leaf in jax.tree.leaves(states)]
    table = np.concatenate([column.astype(np.int64) for column in (ids[:, None], *columns)], 1)
    _, unique = np.unique(table, return_index=True, axis=0)
    return jax.tree.map(lambda leaf: leaf[unique], states), ids[unique]
