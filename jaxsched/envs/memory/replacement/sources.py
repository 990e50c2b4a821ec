"""Random instances of `TensorReplacement-v0`: generated programs at capacities where something must
move.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxsched.core.sources import Pool
from jaxsched.envs.memory import graphs
from jaxsched.envs.memory.replacement.graph import Graph
from jaxsched.envs.memory.replacement.heuristics import capacities
from jaxsched.envs.memory.replacement.types import Instance, to_instance

# Drawers of about `n` operators, forward or with gradients, which triple or quadruple the
# operators.
KINDS: dict[str, Callable[[np.random.Generator, int, bool], dict[str, Any]]] = {
    "layered": lambda rng, n, backward: graphs.layered(
        rng,
        max(n // (3 if backward else 1), 2),
        residual=int(rng.integers(2, 5)),
        backward=backward,
    ),
    "attention": lambda rng, n, backward: graphs.attention(
        rng, max(n // (39 if backward else 13), 1), backward=backward
    ),
    "u_net": lambda rng, n, backward: graphs.u_net(
        rng, max(round(n / (15 if backward else 5)), 2), convolutions=1, backward=backward
    ),
    "series_parallel": lambda rng, n, backward: graphs.series_parallel(
        rng, max(n // (4 if backward else 2), 2), backward=backward
    ),
}


def draw_graph(rng: np.random.Generator, least: int, most: int) -> Graph:
    """A program of a random kind, half of them with gradients, with `least` to `most` operators and
    M_R < M_P.

    Raises `ValueError` where a thousand draws find none: the range is too narrow.
    """
    for _ in range(1000):
        kind = sorted(KINDS)[int(rng.integers(len(KINDS)))]
        drawn = KINDS[kind](rng, int(rng.integers(least, most + 1)), bool(rng.integers(2)))
        if not least <= len(drawn["ops"]) <= most:
            continue
        graph = Graph.from_dict(drawn)
        limits = capacities(graph)
        if limits.M_R < limits.M_P:
            return graph
    raise ValueError(
        f"found no program of {least} to {most} operators in which something must move"
    )


def draw_instance(rng: np.random.Generator, least: int, most: int) -> Instance:
    """A graph of `draw_graph` with a capacity uniform in [M_R, M_P), rounded up to the unit of its
    sizes.
    """
    graph = draw_graph(rng, least, most)
    limits, unit = capacities(graph), graph.unit
    low, high = limits.M_R // unit, limits.M_P // unit
    return to_instance(graph, unit * int(rng.integers(low, high)))


@functools.lru_cache(maxsize=8)
def programs(num_instances: int, least: int, most: int, seed: int = 0) -> Pool:
    """A pool of `num_instances` instances of `draw_instance`; the distribution is ours."""
    rng = np.random.default_rng(seed)
    with jax.ensure_compile_time_eval():  # the first call may come from a function that is traced
        return Pool([draw_instance(rng, least, most) for _ in range(num_instances)])


def default_programs() -> Pool:
    """64 programs of 12 to 24 operators: the size that trains quickly."""
    return programs(64, 12, 24)
