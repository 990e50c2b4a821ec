"""Anytime search: evolution of whole mappings, an action per access, from given ones.

Position t is the same access in every mapping, so stretches of two mappings can be put together;
what is not legal then is mended by the rule `greedy`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jax import random

from jaxsched.core.evolution import EvolutionConfig, begin, evolve
from jaxsched.envs.memory.mapping.env import MemoryMap
from jaxsched.envs.memory.mapping.heuristics import SCORES
from jaxsched.envs.memory.mapping.types import Instance
from jaxsched.host.deadline import Deadline

ENV, REPAIR = MemoryMap(), SCORES["greedy"]


def search(
    instance: Instance,
    given: Sequence[Sequence[int]],
    drawn: np.ndarray | None = None,
    *,
    seed: int,
    deadline: Deadline,
    target: int = 0,
) -> list[int]:
    """The actions of the best mapping found, i32[A].

    It is at least as good as those of `given`, legal actions of at least one mapping, and of
    `drawn` i32[S, A]. Ends at a latency of `target` or at the deadline, but not before some
    generations.
    """
    num = instance.num_accesses
    config = EvolutionConfig(size=256 if num <= 256 else 64, num_generations=max(640 // num, 1))
    world = random.key(0)  # nothing is left to chance in a mapping
    starts = [*given, *(drawn if drawn is not None else ())]
    seeds = np.full((config.size, num), -1, np.int32)  # of one shape however many there are
    for row, actions in zip(seeds, starts, strict=False):
        row[: len(actions)] = actions
    population, calls = begin(ENV, REPAIR, config, world, instance, seeds), 0
    while int(population.cost[0]) > target and (calls == 0 or not deadline.is_over()):
        key = random.fold_in(random.key(seed), calls)
        population, calls = evolve(ENV, REPAIR, config, world, instance, key, population), calls + 1
    return np.asarray(population.action[0]).tolist()
