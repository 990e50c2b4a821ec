"""Priority rules as scores of a state, the highest legal score first, ties to the lowest job.

The twelve rules that the literature on job shops with a machine that is served compares (Park et
al., IJPR 2021), by their usual names; work and operations remaining include the candidate. With
`wait`, the no-op scores one less than the lowest job, so that only a sampled rule ever waits.
"""

from __future__ import annotations

import types
from collections.abc import Callable

import jax.numpy as jnp
from jax import Array

from jaxsched.core.arrays import take_column
from jaxsched.envs.job_shop.blocking.rules import upcoming
from jaxsched.envs.job_shop.blocking.types import State


def spt(state: State) -> Array:
    """Shortest processing time of the next operation. i32[J]."""
    return -upcoming(state).duration


def lpt(state: State) -> Array:
    """Longest processing time of the next operation. i32[J]."""
    return upcoming(state).duration


def mtwr(state: State) -> Array:
    """Most total work remaining. i32[J]."""
    return state.work_left


def ltwr(state: State) -> Array:
    """Least total work remaining. i32[J]."""
    return -state.work_left


def fifo(state: State) -> Array:
    """First in, first out: who has waited longest for its next operation. i32[J]."""
    return -state.ready


def lifo(state: State) -> Array:
    """Last in, first out. i32[J]."""
    return state.ready


def mor(state: State) -> Array:
    """Most operations remaining. i32[J]."""
    return state.ops_left


def lor(state: State) -> Array:
    """Least operations remaining. i32[J]."""
    return -state.ops_left


def sqno(state: State) -> Array:
    """Shortest queue at the next operation: jobs that wait for the machine of the operation
    after this one. i32[J].
    """
    return -queue_after(state)


def lqno(state: State) -> Array:
    """Longest queue at the next operation. i32[J]."""
    return queue_after(state)


def stpt(state: State) -> Array:
    """Shortest total processing time of the job, done and remaining. i32[J]."""
    return -state.instance.duration.sum(-1, dtype=jnp.int32)


def ltpt(state: State) -> Array:
    """Longest total processing time of the job, done and remaining. i32[J]."""
    return state.instance.duration.sum(-1, dtype=jnp.int32)


def random(state: State) -> Array:
    """Equal scores: sampled by `randomised`, a uniformly random legal job. i32[J]."""
    return jnp.zeros_like(state.ops_left)


def queue_after(state: State) -> Array:
    """i32[J]: jobs that wait now for the machine of the operation after the next one; 0 where
    there is none.
    """
    instance, front = state.instance, upcoming(state)
    has_second = state.ops_left > 1
    second = take_column(
        instance.machine, jnp.where(has_second, state.next_op + 1, instance.num_ops)
    )
    waits = front.mask & (state.ready <= state.time) & (front.machine != state.at)
    here = has_second[:, None] & waits[None] & (second[:, None] == front.machine[None])
    return here.sum(1, dtype=jnp.int32)


RULES = types.MappingProxyType(
    {
        "spt": spt,
        "lpt": lpt,
        "mtwr": mtwr,
        "ltwr": ltwr,
        "fifo": fifo,
        "lifo": lifo,
        "mor": mor,
        "lor": lor,
        "sqno": sqno,
        "lqno": lqno,
        "stpt": stpt,
        "ltpt": ltpt,
        "random": random,
    }
)


def _waiting(scores: Callable[[State], Array]) -> Callable[[State], Array]:
    """The rule with a score for the no-op: [J + 1]."""

    def scored(state: State) -> Array:
        values = scores(state)
        lowest = jnp.where(state.ops_left > 0, values, values.max()).min()
        return jnp.append(values, lowest - int(scores is not random))

    return scored


WAITING_RULES = types.MappingProxyType({name: _waiting(scores) for name, scores in RULES.items()})
