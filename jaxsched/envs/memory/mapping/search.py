"""Anytime search: evolution of whole mappings, an action per access, from given ones.

Position t is the same access in every mapping, so stretches of two mappings can be put together; what is not legal then
is mended by the rule `greedy`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import jax
import numpy as np
from jax import random

from jaxsched.core.evolution import EvolutionConfig, begin, evolve
from jaxsched.core.rollout import replay
from jaxsched.envs.memory.mapping.env import MemoryMap
from jaxsched.envs.memory.mapping.heuristics import SCORES
from jaxsched.envs.memory.mapping.types import MapInstance, MapState

ENV, REPAIR = MemoryMap(), SCORES["greedy"]


def search(
    instance: MapInstance,
    starts: Sequence[MapState],
    drawn: np.ndarray | None = None,
    *,
    seed: int,
    deadline: float,
    target: int = 0,
) -> MapState:
    """The best mapping found, at least as good as each of `starts`, of which one is alive, and of `drawn` i32[S, A].

    Ends at a latency of `target`, or at the `deadline`, a time of `time.perf_counter`, but not before some generations.
    """
    num = instance.num_accesses
    config = EvolutionConfig(size=256 if num <= 256 else 64, num_generations=max(640 // num, 1))
    world = random.key(0)  # nothing is left to chance in a mapping
    given = [np.asarray(state.action) for state in starts if not state.dead] + list(drawn if drawn is not None else ())
    given = np.stack(given[: config.size])
    seeds = np.full((config.size, num), -1, np.int32)  # of one shape however many there are
    seeds[: len(given)] = given
    population, calls = begin(ENV, REPAIR, config, world, instance, seeds), 0
    while int(population.cost[0]) > target and (calls == 0 or time.perf_counter() < deadline):
        key = random.fold_in(random.key(seed), calls)
        population, calls = evolve(ENV, REPAIR, config, world, instance, key, population), calls + 1
    return jax.device_get(_state(instance, population.action[0]))


@jax.jit
def _state(instance: MapInstance, actions: jax.Array) -> MapState:
    key = random.key(0)
    return replay(ENV, key, ENV.init(key, instance), actions)[0]
