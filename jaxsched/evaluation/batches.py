"""Episodes of many instances in few compiled programs that fit the memory."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax import Array, random

from jaxsched.core.compilation import compiler_options
from jaxsched.core.environment import Environment, Instance
from jaxsched.core.rollout import best_episode, outcome, replay, rollout, strip
from jaxsched.evaluation.rules import MakePolicy
from jaxsched.search.resample import ResampleConfig, follow_the_best

FEW = 4  # instances of one shape that do not deserve a program of their own
MAX_LANES, MAX_LANES_CPU = 4096, 64  # episodes played at once; on a CPU more is no faster
MAX_BYTES = 2**28  # of activations, estimated from the size of an observation
ACTIVATIONS = 64  # bytes of activations per byte of observation, for the default network


def groups(instances: Mapping[str, Instance]) -> Iterator[list[str]]:
    """Names of instances of equal shapes, smallest first; the few of a rare shape join the next
    larger one.

    A program takes seconds to compile, and padding changes no result.
    """
    shapes: dict[Any, list[str]] = {}
    for name, instance in instances.items():
        shapes.setdefault(tree_signature(instance), []).append(name)
    group: list[str] = []
    for signature in sorted(shapes, key=lambda signature: sum(leaf.size for leaf in signature[1])):
        group += shapes[signature]
        if len(group) >= FEW:
            yield group
            group = []
    if group:
        yield group


def tree_signature(tree: Any) -> tuple[Any, tuple[jax.ShapeDtypeStruct, ...]]:
    """Structure and hashable types of a tree of arrays."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)


@functools.lru_cache(maxsize=128)
def compile_best(
    env: Environment,
    make: MakePolicy,
    rounds: int,
    structure: Any,
    types: tuple[jax.ShapeDtypeStruct, ...],
) -> Any:
    """`_best` compiled ahead, so that compilation is timed apart from the run."""
    program = jax.jit(functools.partial(_best, env, make, rounds)).lower(
        *jax.tree.unflatten(structure, types)
    )
    return program.compile(compiler_options=compiler_options())


def _best(
    env: Environment,
    make: MakePolicy,
    rounds: int,
    params: Any,
    key: Array,
    instances: Instance,
    ids: Array,
    chosen: Array,
    sample_ids: Array,
) -> tuple[Array, Array, Array, Any]:
    """The best of S episodes on each of C instances, `chosen` from all: outcome, objective, lower
    bound, final state.

    i32[C] three times, and states [C, ...] without their instance. With more than one of `rounds`,
    of S new ends in every round.
    """
    policy = make(params)

    def episode(instance, instance_id, sample_id):
        sample_key = random.fold_in(random.fold_in(key, instance_id), sample_id)
        played = rollout(env, sample_key, instance, policy)
        return outcome(env, played.state), played.objective, strip(played.state)

    def followed(instance, instance_id):
        sample_key = random.fold_in(random.fold_in(key, instance_id), sample_ids[0])
        reset_key, step_key = random.split(sample_key)
        state = env.init(reset_key, instance)

        def act(key, state):
            return policy(key, state, env.observe(state))

        config = ResampleConfig(len(sample_ids), rounds)
        found = follow_the_best(env, step_key, state, act, env.max_steps(instance), config)
        final, _ = replay(env, step_key, state, found.action)
        return found.end.outcome, found.end.objective, strip(final)

    def best(index):
        instance, instance_id = jax.tree.map(lambda leaf: leaf[index], (instances, ids))
        if rounds > 1:
            end, objective, state = followed(instance, instance_id)
            return end, objective, env.lower_bound(instance), state
        ends, objectives, states = several(
            lambda sample_id: episode(instance, instance_id, sample_id), sample_ids
        )
        end, objective, state = jax.tree.map(
            lambda leaf: leaf[best_episode(ends, objectives)], (ends, objectives, states)
        )
        return end, objective, env.lower_bound(instance), state

    return several(best, chosen)


def several(function: Any, ids: Array) -> Any:
    """`jax.vmap(function)(ids)`; one alone is not batched, which every operation would have to be
    traced again for.
    """
    if len(ids) > 1:
        return jax.vmap(function)(ids)
    return jax.tree.map(lambda leaf: leaf[None], function(ids[0]))


def num_lanes(env: Environment, instance: Instance) -> int:
    """Episodes to play at once, so that the activations of a network fit the memory set aside
    for them.
    """
    most = MAX_LANES_CPU if jax.default_backend() == "cpu" else MAX_LANES
    size = _observation_bytes(env, *tree_signature(instance))
    return max(1, min(most, MAX_BYTES // (ACTIVATIONS * size)))


@functools.lru_cache(maxsize=128)
def _observation_bytes(
    env: Environment, structure: Any, types: tuple[jax.ShapeDtypeStruct, ...]
) -> int:
    instance = jax.tree.unflatten(structure, types)
    _, timestep = jax.eval_shape(env.reset, random.key(0), instance)
    leaves = jax.tree.leaves(timestep.observation)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


def even_chunk(total: int, most: int) -> int:
    """The smallest chunk that splits `total` into as few parts of at most `most` as possible."""
    return -(-total // -(-total // most))


def chunks(total: int, size: int) -> Iterator[np.ndarray]:
    """0, 1, ..., total - 1 in chunks of exactly `size`; the last repeats the last one, which
    changes no minimum.
    """
    for first in range(0, total, size):
        yield np.minimum(np.arange(first, first + size, dtype=np.uint32), np.uint32(total - 1))
