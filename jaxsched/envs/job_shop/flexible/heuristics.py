"""Priority rules as scores of pairs of a job and a machine, i32[J * M]: the highest legal score
first.

A rule on jobs (`fifo`, `mor`, `mwkr`) is completed by a machine rule: of the pairs of a job the one
that ends first, and of several the lowest machine; in `non_delay` all of them start now, so this is
the fastest machine that is free. Further ties go to the lowest job. Work and operations remaining
include the candidate, and work counts every operation on its fastest machine.
"""

from __future__ import annotations

import types

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsched.envs.job_shop.flexible.rules import LATEST, frontier
from jaxsched.envs.job_shop.flexible.types import State


def fifo(state: State) -> Array:
    """First in, first out: the job that became ready first."""
    return _by_job(state, -state.job_ready)


def spt(state: State) -> Array:
    """Shortest processing time, over pairs; ties to the lowest job, then the lowest machine."""
    return -frontier(state).duration.ravel()


def mor(state: State) -> Array:
    """Most operations remaining."""
    return _by_job(state, state.ops_left)


def mwkr(state: State) -> Array:
    """Most work remaining."""
    return _by_job(state, state.work_left)


def est(state: State) -> Array:
    """Earliest starting time, over pairs; of those that start together, the machine rule, then the
    lowest job.

    In `non_delay`, where all of them do, the machine rule decides.
    """
    return _ranked(state, -frontier(state).start)


def eft(state: State) -> Array:
    """Earliest finishing time, over pairs; ties to the lowest job, then the lowest machine."""
    front = frontier(state)
    return -(front.start + front.duration).ravel()


def random(state: State) -> Array:
    """Equal scores: sampled by `randomised`, a uniformly random legal pair."""
    return jnp.zeros_like(frontier(state).duration).ravel()


def _by_job(state: State, priority: Array) -> Array:
    """Scores of a rule on jobs, `priority` i32[J]."""
    return _ranked(state, priority[:, None])


def _ranked(state: State, priority: Array) -> Array:
    """i32[J * M]: first `priority` i32[J, M], then the rank of the pair among those of its job.

    Times are small enough for it: the machines times all work fit int32 (`lists.py`).
    """
    front = frontier(state)
    end = jnp.where(front.eligible, front.start + front.duration, LATEST)
    before = np.tri(end.shape[1], k=-1, dtype=bool)  # [M, M']  M' is the lower one
    rank = (
        (end[:, None, :] < end[:, :, None]) | ((end[:, None, :] == end[:, :, None]) & before[None])
    ).sum(-1, dtype=jnp.int32)
    num_machines = state.instance.machine_mask.sum(dtype=jnp.int32)
    return jnp.where(front.eligible, priority * num_machines - rank, 0).ravel()


RULES = types.MappingProxyType(
    {"fifo": fifo, "spt": spt, "mor": mor, "mwkr": mwkr, "est": est, "eft": eft, "random": random}
)
