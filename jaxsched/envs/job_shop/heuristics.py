"""Priority rules as scores of a state, the highest legal score first, ties to the lowest job.

Work and operations remaining include the candidate. Definitions as in the survey of Sels, Gheysen &
Vanhoucke (IJPR 2012); FDD/MWKR is the ratio of the flow due date (work done, candidate included) to
the work remaining. EDD, SLACK, CR and ATC need due dates: a job without one gets release + 1.5
times its work (TWK, Baker 1984), rounded down where scores are integers. In `event`, the no-op
scores one less than the lowest job, so that only a sampled rule ever waits.
"""

from __future__ import annotations

import types
from collections.abc import Callable

import jax.numpy as jnp
from jax import Array

from jaxsched.envs.job_shop.rules import LATEST, clock, frontier
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
    """Smallest ratio of flow due date to most work remaining. f32[J]; a job without work left comes
    last.

    The flow due date is the release date plus the work done, candidate included. Ratios closer than
    float32 resolves count as ties, possible once flow due date times work exceeds 2**24.
    """
    instance = state.instance
    done = instance.duration.sum(-1, dtype=jnp.int32) - state.work_left + frontier(state).duration
    return -_ratio((instance.release + done).astype(jnp.float32), state.work_left)


def cr(state: State) -> Array:
    """Smallest critical ratio: time to the due date over work remaining. f32[J]; no work left comes
    last.

    A job without due date gets release + 1.5 times its work.
    """
    instance = state.instance
    work = instance.duration.sum(-1, dtype=jnp.int32).astype(jnp.float32)
    else_due = instance.release.astype(jnp.float32) + 1.5 * work
    due = jnp.where(instance.due_mask, instance.due.astype(jnp.float32), else_due)
    return -_ratio(due - clock(state).astype(jnp.float32), state.work_left)


def edd(state: State) -> Array:
    """Earliest due date. i32[J]."""
    return -_due(state)


def slack(state: State) -> Array:
    """Least slack: due date - clock - work left. i32[J]."""
    return clock(state) + state.work_left - _due(state)


def atc(state: State) -> Array:
    """Apparent tardiness cost (Vepsalainen & Morton 1987), its logarithm. f32[J].

    weight / p * exp(-max(0, slack - b * work after) / (k * mean p)): p the duration of the next
    operation, at least 1, slack as above, b = 2 the waiting expected per unit of later work, k = 3,
    the mean over the jobs that need the same machine next. A job of weight 0 comes last.
    """
    front, weight = frontier(state), state.instance.weight
    duration = jnp.maximum(front.duration, 1).astype(jnp.float32)
    rivals = (front.machine[:, None] == front.machine[None]) & front.mask[None]
    mean = jnp.where(rivals, duration, 0).sum(-1) / jnp.maximum(rivals.sum(-1), 1).astype(
        jnp.float32
    )
    spare = (-slack(state)).astype(jnp.float32) - 2 * (state.work_left - front.duration).astype(
        jnp.float32
    )
    score = -jnp.log(duration) - jnp.maximum(spare, 0) / (3 * jnp.maximum(mean, 1))
    worth = jnp.log(jnp.maximum(weight, 1).astype(jnp.float32)) + score
    return jnp.where(weight > 0, worth, jnp.where(front.mask, worth, worth.max()).min() - 1)


def random(state: State) -> Array:
    """Equal scores: sampled by `randomised`, a uniformly random legal job. i32[J]."""
    return jnp.zeros_like(state.ops_left)


def _ratio(numerator: Array, work_left: Array) -> Array:
    """numerator / work_left; without work, above all others but of their size, so that scores
    can be standardised.
    """
    ratio = numerator / jnp.maximum(work_left, 1).astype(jnp.float32)
    largest = jnp.where(work_left > 0, ratio, -jnp.inf).max()
    largest = jnp.where(jnp.isfinite(largest), largest, 0)
    return jnp.where(work_left > 0, ratio, largest + jnp.abs(largest) + 1)


def _due(state: State) -> Array:
    """i32[J]: the due date, release + 1.5 work where there is none."""
    instance = state.instance
    work = instance.duration.sum(-1, dtype=jnp.int32)
    end = instance.release + work
    return jnp.where(instance.due_mask, instance.due, end + jnp.minimum(work // 2, LATEST - end))


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
        "edd": edd,
        "slack": slack,
        "atc": atc,
        "random": random,
    }
)


def _waiting(scores: Callable[[State], Array]) -> Callable[[State], Array]:
    """The rule with a score for the no-op: [J + 1]."""

    def scored(state: State) -> Array:
        values = scores(state)
        lowest = jnp.where(state.ops_left > 0, values, values.max()).min()
        return jnp.append(
            values.astype(jnp.float32), lowest.astype(jnp.float32) - float(scores is not random)
        )

    return scored


WAITING_RULES = types.MappingProxyType({name: _waiting(scores) for name, scores in RULES.items()})
