"""Priority rules as scores of a state, the highest legal score first, ties to the lowest job.

Work and operations remaining include the candidate. Definitions as in the survey of Sels, Gheysen & Vanhoucke (IJPR
2012); FDD/MWKR is the ratio of the flow due date (work done, candidate included) to the work remaining.
"""

from __future__ import annotations

import types

import jax.numpy as jnp
from jax import Array

from jaxsched.envs.job_shop.rules import clock, frontier
from jaxsched.envs.job_shop.types import State


def spt(state: State) -> Array:
    """Shortest processing time of the next operation. i32[J]."""
    return -frontier(state).duration


def lpt(state: State) -> Array:
    """Longest processing time of the next operation. i32[J]."""
    return frontier(state).duration


def mwkr(state: State) -> Array:
    """Most work remaining. i32[J]."""
    return state.work_left


def lwkr(state: State) -> Array:
    """Least work remaining. i32[J]."""
    return -state.work_left


def mopnr(state: State) -> Array:
    """Most operations remaining. i32[J]."""
    return state.ops_left


def lopnr(state: State) -> Array:
    """Least operations remaining. i32[J]."""
    return -state.ops_left


def fifo(state: State) -> Array:
    """First in, first out: the job that became ready first. i32[J]."""
    return -state.job_ready


def fdd_mwkr(state: State) -> Array:
    """Smallest ratio of flow due date to most work remaining. f32[J]; a job without work left comes last.

    The flow due date is the release date plus the work done, candidate included. Ratios closer than float32 resolves
    count as ties, possible once flow due date times work exceeds 2**24.
    """
    instance = state.instance
    done = instance.duration.sum(-1, dtype=jnp.int32) - state.work_left + frontier(state).duration
    return -_ratio((instance.release + done).astype(jnp.float32), state.work_left)


def cr(state: State) -> Array:
    """Smallest critical ratio: time to the due date over work remaining. f32[J]; no work left comes last.

    A job without due date gets release + 1.5 times its work.
    """
    instance = state.instance
    work = instance.duration.sum(-1, dtype=jnp.int32).astype(jnp.float32)
    due = jnp.where(instance.due_mask, instance.due.astype(jnp.float32), instance.release + 1.5 * work)
    return -_ratio(due - clock(state).astype(jnp.float32), state.work_left)


def random(state: State) -> Array:
    """Equal scores: sampled by `randomised`, a uniformly random legal job. i32[J]."""
    return jnp.zeros_like(state.ops_left)


def _ratio(numerator: Array, work_left: Array) -> Array:
    """numerator / work_left; without work, above all others but of their size, so that scores can be standardised."""
    ratio = numerator / jnp.maximum(work_left, 1).astype(jnp.float32)
    largest = jnp.where(work_left > 0, ratio, -jnp.inf).max()
    largest = jnp.where(jnp.isfinite(largest), largest, 0)
    return jnp.where(work_left > 0, ratio, largest + jnp.abs(largest) + 1)


RULES = types.MappingProxyType(
    {
        "spt": spt,
        "lpt": lpt,
        "mwkr": mwkr,
        "lwkr": lwkr,
        "mopnr": mopnr,
        "lopnr": lopnr,
        "fifo": fifo,
        "fdd_mwkr": fdd_mwkr,
        "cr": cr,
        "random": random,
    }
)
